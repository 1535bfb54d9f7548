#include "tenfold/plan/cluster.h"

#include <algorithm>
#include <queue>

#include <fmt/format.h>

#include "tenfold/base/fault.h"

namespace tenfold::plan {
namespace {

constexpr size_t kSearchNodes = 4096;  // clusters above this are not merged further: planning stays linear
constexpr int kMergeAttempts = 20000;
constexpr size_t kCousins = 32;  // a value of more users than this does not make them neighbours
// Of the cost: what a launch less may cost, for its buffers and its wait are not counted; and what fewer
// bytes may (kTie), for differences that small are a tie.
constexpr double kLaunchWorth = 3e-3;

constexpr double kRoom = 256 << 20;  // bytes between launches that cost nothing; of more, each as if it was
constexpr double kRoomWorth = 8;     // moved so many times more, where that is what was granted

bool is_pointwise(const Prim& prim) { return prim.kind == Kind::map || prim.kind == Kind::move; }

}  // namespace

Clusters::Clusters(const Flat& flat, const tile::Machine& machine, const Options& options,
                   std::function<double(int unit)> loop_seconds)
    : flat_(flat),
      machine_(machine),
      options_(options),
      loop_seconds_(std::move(loop_seconds)),
      scheduler_(flat, machine, options),
      alike_(flat) {
  unit_users_.resize(flat.units.size());
  for (size_t u = 0; u < flat.units.size(); ++u)
    for (int v : flat.units[u].inputs) unit_users_[v].push_back(static_cast<int>(u));
  op_users_.resize(flat.ops.size());
  for (size_t o = 0; o < flat.ops.size(); ++o)
    for (int i : flat.ops[o].inputs)
      if (flat.ops[o].unit >= 0) op_users_[i].push_back(flat.ops[o].unit);
  for (int r : flat.results) is_result_.insert(r);
}

void Clusters::find() {
  group_maps();
  dissolve();
  if (options_.fuse) merge();
  for (const auto& [c, units] : clusters_) cost(c);
}

// Maps (and moves) of one shape along edges, where no path can leave and come back: every other edge raises
// the level.
void Clusters::group_maps() {
  std::vector<int> level(flat_.units.size(), 0), root(flat_.units.size());
  std::vector<char> reads_nothing(flat_.units.size(), false);
  auto find = [&](int u) {
    while (root[u] != u) u = root[u] = root[root[u]];
    return u;
  };
  for (size_t u = 0; u < flat_.units.size(); ++u) {
    root[u] = static_cast<int>(u);
    const Unit& unit = flat_.units[u];
    auto joined = [&](int v) {
      return options_.fuse && is_pointwise(prim_of(v)) && is_pointwise(*unit.node->prim) &&
             unit.node->types.size() == 1 && flat_.units[v].node->shape() == unit.node->shape();
    };
    // What repeats elements, with a border around them, or reads none, is a part of its only user: it would
    // take more memory than it reads.
    auto absorbed = [&](int v) {
      const bool border = prim_of(v).has("encloses") && unit.node->prim->has("repeats");
      return options_.fuse && (prim_of(v).has("repeats") || border || reads_nothing[v]) &&
             unit_users_[v].size() == 1 && unit.node->prim->kind != Kind::control &&
             !is_result_.contains(flat_.units[v].ops[0]);
    };
    reads_nothing[u] = is_pointwise(*unit.node->prim) && std::ranges::all_of(unit.operands, [&](int o) {
                         const Op& x = flat_.ops[o];
                         return x.kind == Op::Kind::constant || (x.unit >= 0 && reads_nothing[x.unit]);
                       });
    for (int v : unit.inputs) level[u] = std::max(level[u], level[v] + (joined(v) || absorbed(v) ? 0 : 1));
    for (int v : unit.inputs)
      if ((joined(v) && level[v] == level[u]) || absorbed(v)) root[find(static_cast<int>(u))] = find(v);
  }
  std::map<int, int> name;
  cluster_of_.resize(flat_.units.size());
  for (size_t u = 0; u < flat_.units.size(); ++u) {
    auto [at, fresh] = name.try_emplace(find(static_cast<int>(u)), next_cluster_);
    if (fresh) ++next_cluster_;
    cluster_of_[u] = at->second;
    clusters_[at->second].push_back(static_cast<int>(u));
  }
}

// Maps that cannot be one kernel after all (a reshape between them that does not factor) stand alone again.
void Clusters::dissolve() {
  std::vector<int> names;
  for (auto& [c, units] : clusters_)
    if (units.size() > 1 && !candidate(units).barrier.empty()) names.push_back(c);
  for (int c : names) {
    std::vector<int> units = clusters_[c];
    clusters_.erase(c);
    for (int u : units) {
      cluster_of_[u] = next_cluster_;
      clusters_[next_cluster_++] = {u};
    }
  }
}

std::vector<int> Clusters::outputs(const std::vector<int>& units) const {
  std::set<int> mine(units.begin(), units.end());
  std::vector<int> out;
  for (int u : units)
    for (int o : flat_.units[u].ops) {
      if (!flat_.ops[o].is_unit_output) continue;
      bool leaves = is_result_.contains(o);
      for (int user : op_users_[o]) leaves = leaves || !mine.contains(user);
      if (leaves) out.push_back(o);
    }
  return out;
}

const Candidate& Clusters::candidate(const std::vector<int>& units) {
  auto found = memo_.find(units);
  if (found != memo_.end()) return *found->second;
  if (is_repeat(units)) {
    auto c = std::make_shared<Candidate>();
    c->barrier = "a loop of launches";
    c->cost.seconds = repeats_.at(units[0]);
    return *memo_.emplace(units, std::move(c)).first->second;
  }
  const std::vector<int> outs = outputs(units);
  return *memo_.emplace(units, found_once(alike_.form(units, outs), units, outs, false)).first->second;
}

// The schedule of all clusters of this form: searched once.
Clusters::Shared Clusters::found_once(const Alike::Form& form, const std::vector<int>& units,
                                      const std::vector<int>& outs, bool search) {
  auto& known = search ? searched_ : quick_;
  if (!form.text.empty())
    if (auto found = known.find(form.text); found != known.end()) return found->second;
  auto c = std::make_shared<Candidate>(scheduler_.schedule(units, outs, search));
  if (form.text.empty()) return c;
  for (int& b : c->lowered.buffers) b = static_cast<int>(std::ranges::find(form.ops, b) - form.ops.begin());
  return known.emplace(form.text, std::move(c)).first->second;
}

Clusters::Final Clusters::search(const std::vector<int>& units, const std::vector<int>& outs) {
  const Alike::Form form = alike_.form(units, outs);
  Final f{found_once(form, units, outs, true), {}};
  f.ops = f.candidate->lowered.buffers;
  if (!form.text.empty())
    for (int& o : f.ops) o = form.ops[o];
  return f;
}

double Clusters::cost(int cluster) {
  const auto& units = clusters_[cluster];
  const Candidate& c = candidate(units);
  const bool loop = units.size() == 1 && prim_of(units[0]).kind == Kind::control;
  if (loop && !c.barrier.empty() && !is_repeat(units)) {
    repeats_.emplace(units[0], loop_seconds_(units[0]));
    memo_.erase(units);
    return candidate(units).cost.seconds;
  }
  return c.cost.seconds;
}

// Of every cluster: more than those of all that it reads.
void Clusters::find_levels() {
  levels_.assign(static_cast<size_t>(next_cluster_), 0);
  std::vector<int> waiting(levels_.size(), 0), ready;
  const auto for_each_user = [&](int c, const auto& visit) {
    for (int u : clusters_[c])
      for (int v : unit_users_[u])
        if (cluster_of_[v] != c) visit(cluster_of_[v]);
  };
  for (const auto& [c, units] : clusters_) for_each_user(c, [&](int d) { ++waiting[d]; });
  for (const auto& [c, units] : clusters_)
    if (waiting[c] == 0) ready.push_back(c);
  while (!ready.empty()) {
    const int c = ready.back();
    ready.pop_back();
    for_each_user(c, [&](int d) {
      levels_[d] = std::max(levels_[d], levels_[c] + 1);
      if (--waiting[d] == 0) ready.push_back(d);
    });
  }
}

// Everything on a path between the two comes along; none where that is too far to look.
std::optional<std::vector<int>> Clusters::closure(int a, int b) {
  constexpr size_t kFar = 2000;
  if (levels_.empty()) find_levels();
  const auto [low, high] = std::minmax(levels_[a], levels_[b]);
  // Clusters reachable from the two and reaching them, at levels between theirs.
  const auto sweep = [&](bool down) {
    std::set<int> seen;
    std::vector<int> work{a, b};
    while (!work.empty() && seen.size() <= kFar) {
      const int c = work.back();
      work.pop_back();
      for (int u : clusters_[c])
        for (int v : down ? unit_users_[u] : flat_.units[u].inputs)
          if (const int d = cluster_of_[v];
              d != c && levels_[d] > low && levels_[d] < high && seen.insert(d).second)
            work.push_back(d);
    }
    return seen;
  };
  std::set<int> group{a, b};
  const std::set<int> down = sweep(true), up = down.empty() ? down : sweep(false);
  if (std::max(down.size(), up.size()) > kFar) return {};
  if (!fault("plan_merge_path")) std::ranges::set_intersection(down, up, std::inserter(group, group.end()));
  return std::vector<int>(group.begin(), group.end());
}

// A maximum runs so that memory need not grow with a length: what waits between launches has its price
// then.
double Clusters::room_seconds(const std::vector<int>& group, const std::vector<int>& together) const {
  const std::vector<int> kept = outputs(together);
  double bytes = 0;
  for (const int c : group)
    for (const int o : outputs(clusters_.at(c)))
      if (std::ranges::find(kept, o) == kept.end())
        bytes +=
            static_cast<double>(volume(flat_.ops[o].type.shape).hint() * size_of(flat_.ops[o].type.dtype));
  return std::max(0.0, bytes - kRoom) * kRoomWorth / machine_.memory_bandwidth;
}

void Clusters::merge() {
  if (clusters_.size() > kSearchNodes) return;
  struct Entry {
    double gain;
    int order, a, b;
    bool operator<(const Entry& o) const { return gain != o.gain ? gain < o.gain : order > o.order; }
  };
  std::priority_queue<Entry> heap;
  int tick = 0, attempts = 0;
  auto units_of = [&](const std::vector<int>& group) {
    std::vector<int> units;
    for (int c : group) units.insert(units.end(), clusters_[c].begin(), clusters_[c].end());
    std::sort(units.begin(), units.end());
    return units;
  };
  auto gain = [&](int a, int b) -> std::pair<double, std::vector<int>> {
    if (++attempts > kMergeAttempts) return {0, {}};
    auto group = closure(a, b);
    if (!group) return {0, {}};
    double apart = 0, bytes = 0;
    for (int c : *group) {
      apart += cost(c);
      bytes += candidate(clusters_[c]).cost.bytes();
      for (int u : clusters_[c])
        if (repeats_.contains(u)) return {0, {}};
    }
    const Candidate& together = candidate(units_of(*group));
    if (!together.barrier.empty()) {
      notes_.emplace(std::minmax(a, b), together.barrier);
      return {0, {}};
    }
    if (options_.granted("online")) apart += room_seconds(*group, units_of(*group));
    const double worth = together.cost.bytes() < bytes * (1 - kTie) ? kTie : kLaunchWorth;
    const double gained = apart * (1 + worth) - together.cost.seconds;
    if (gained <= 0 && group->size() == 2)
      notes_.insert_or_assign(std::minmax(a, b),
                              fmt::format("one launch would take {:.3g} us, two take {:.3g} us",
                                          together.cost.seconds * 1e6, apart * 1e6));
    return {gained, *group};
  };
  auto neighbours = [&](int c) {
    std::set<int> near;
    for (int u : clusters_[c]) {
      for (int v : flat_.units[u].inputs) {
        near.insert(cluster_of_[v]);
        if (clusters_[cluster_of_[v]].size() >= kCousins) continue;
        for (int w : clusters_[cluster_of_[v]])  // what is made of the same launch
          if (unit_users_[w].size() < kCousins)
            for (int x : unit_users_[w]) near.insert(cluster_of_[x]);
      }
      for (int v : unit_users_[u]) near.insert(cluster_of_[v]);
      for (int o : flat_.units[u].ops)
        for (int i : flat_.ops[o].inputs)
          if (flat_.ops[i].kind == Op::Kind::leaf && op_users_[i].size() < kCousins)
            for (int w : op_users_[i]) near.insert(cluster_of_[w]);
    }
    near.erase(c);
    return near;
  };
  auto push = [&](int a) {
    for (int b : neighbours(a)) {
      auto [g, group] = gain(a, b);
      if (g > 0) heap.push({g, tick++, a, b});
    }
  };
  std::vector<int> start;
  for (auto& [c, units] : clusters_) start.push_back(c);
  auto merge_all = [&] {
    while (!heap.empty()) {
      Entry e = heap.top();
      heap.pop();
      if (!clusters_.contains(e.a) || !clusters_.contains(e.b)) continue;
      auto [g, group] = gain(e.a, e.b);
      if (g <= 0) continue;
      std::vector<int> units = units_of(group);
      int made = next_cluster_++;
      for (int c : group) clusters_.erase(c);
      for (int u : units) cluster_of_[u] = made;
      clusters_[made] = std::move(units);
      levels_.clear();
      push(made);
    }
  };
  for (int c : start) push(c);
  merge_all();
  // Two that are not worth it may be worth it with a third: two products and what stands between them.
  std::set<std::pair<int, int>> ends;
  auto users = [&](int c) {
    std::set<int> found;
    for (int u : clusters_.at(c))
      for (int v : unit_users_[u])
        if (cluster_of_[v] != c) found.insert(cluster_of_[v]);
    return found;
  };
  for (auto& [c, units] : clusters_)
    for (int next : users(c))
      for (int last : users(next))
        if (last != c) ends.insert({c, last});
  for (auto [a, b] : ends)
    if (auto [g, group] = gain(a, b); g > 0) heap.push({g, tick++, a, b});
  merge_all();
}

std::vector<std::string> Clusters::notes() const {
  std::vector<std::string> out;
  std::set<std::string> said;
  for (const auto& [pair, why] : notes_)
    if (clusters_.contains(pair.first) && clusters_.contains(pair.second) && said.insert(why).second)
      out.push_back("not fused: " + why);
  return out;
}

}  // namespace tenfold::plan
