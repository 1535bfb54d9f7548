// The graph cut into clusters, each to be one launch: every unit alone, maps of one shape joined, then greedy
// merges by the cost of the lowered program.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>

#include "tenfold/plan/alike.h"
#include "tenfold/plan/schedule.h"

namespace tenfold::plan {

class Clusters {
 public:
  // `loop_seconds`: of a loop that is no kernel, as a loop of launches.
  Clusters(const Flat&, const tile::Machine&, const Options&, std::function<double(int unit)> loop_seconds);

  void find();

  const std::map<int, std::vector<int>>& units() const { return clusters_; }  // of each cluster, ascending
  int cluster_of(int unit) const { return cluster_of_[static_cast<size_t>(unit)]; }
  std::vector<int> outputs(const std::vector<int>& units) const;
  bool is_repeat(const std::vector<int>& units) const {
    return units.size() == 1 && repeats_.contains(units[0]);
  }
  const Candidate& candidate(const std::vector<int>& units);
  std::vector<std::string> notes() const;  // why two were not fused

  // The final schedule of these units, which alike clusters share, and the op behind each of its arguments.
  struct Final {
    std::shared_ptr<const Candidate> candidate;
    std::vector<int> ops;
  };
  Final search(const std::vector<int>& units, const std::vector<int>& outputs);
  Candidate by_hand(const std::vector<int>& units, const std::vector<int>& outputs, const std::string& loops,
                    const Candidate& planned) const {
    return scheduler_.by_hand(units, outputs, loops, planned);
  }

 private:
  using Shared = std::shared_ptr<const Candidate>;
  const Flat& flat_;
  const tile::Machine& machine_;
  const Options& options_;
  std::function<double(int unit)> loop_seconds_;
  Scheduler scheduler_;
  Alike alike_;
  std::vector<std::vector<int>> unit_users_, op_users_;
  std::set<int> is_result_;
  std::vector<int> cluster_of_;               // unit -> cluster
  std::map<int, std::vector<int>> clusters_;  // cluster -> units, ascending
  std::map<std::vector<int>, Shared> memo_;   // by units
  // By the text of alike clusters; their buffers by its numbers.
  std::map<std::vector<int>, Shared> quick_, searched_;
  std::map<int, double> repeats_;                     // seconds of loops of launches, by unit
  std::map<std::pair<int, int>, std::string> notes_;  // by the two clusters
  std::vector<int> levels_;                           // by cluster; empty: not known
  int next_cluster_ = 0;

  const Prim& prim_of(int unit) const { return *flat_.units[static_cast<size_t>(unit)].node->prim; }
  void group_maps();
  void dissolve();
  Shared found_once(const Alike::Form&, const std::vector<int>& units, const std::vector<int>& outputs,
                    bool search);
  double cost(int cluster);
  void find_levels();
  std::optional<std::vector<int>> closure(int a, int b);
  double room_seconds(const std::vector<int>& group, const std::vector<int>& together) const;
  void merge();
};

}  // namespace tenfold::plan
