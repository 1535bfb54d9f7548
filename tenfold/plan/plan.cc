// The graph cut into clusters: every unit alone, maps of one shape joined, then greedy merges by the cost of
// the lowered program.
#include "tenfold/plan/plan.h"

#include <algorithm>
#include <map>
#include <optional>
#include <queue>
#include <set>
#include <unordered_map>

#include <fmt/ranges.h>

#include "tenfold/base/fault.h"
#include "tenfold/ir/build.h"
#include "tenfold/plan/alike.h"
#include "tenfold/plan/loops.h"
#include "tenfold/plan/lower.h"
#include "tenfold/plan/matrix.h"
#include "tenfold/plan/online.h"
#include "tenfold/plan/pack.h"
#include "tenfold/rewrite/simplify.h"
#include "tenfold/tile/matrix.h"

namespace tenfold::plan {
namespace {

constexpr size_t kSearchNodes = 4096;  // clusters above this are not merged further: planning stays linear
constexpr int kMergeAttempts = 20000;
constexpr size_t kCousins = 32;  // a value of more users than this does not make them neighbours
// Of the cost: what a launch less may cost, for its buffers and its wait are not counted; and what fewer
// bytes may, for differences that small are a tie.
constexpr double kLaunchWorth = 3e-3, kTie = 0.02;

constexpr int64_t kNear = 2;      // times the cache: what is kept that another order of loops may make fit
constexpr double kTaken = 0.03;   // of what stands under a vote: it is rare, or packed
constexpr double kGather = 40;    // scalar operations that an element costs which vectors gather or scatter
constexpr double kExposed = 0.1;  // of the lesser of arithmetic and memory: what the greater does not hide

constexpr double kRoom = 256 << 20;  // bytes between launches that cost nothing; of more, each as if it was
constexpr double kRoomWorth = 8;     // moved so many times more, where that is what was granted

constexpr double kMostVectors =
    64;  // of a value in a tile that is written by hand: what is unrolled has an end

struct Candidate {
  Lowered lowered;
  Cost cost;
  std::string loops, axes;
  std::vector<std::string> places;  // per argument: "[i,k]"
  bool fits = true;                 // scratch fits the cache
  std::string barrier;              // not empty: no such kernel
};

double bytes_of(const Cost& c) { return c.bytes_read + c.bytes_written; }

// Registers of the largest value that is not kept in scratch.
double tile_vectors(const tile::Kernel& kernel, const tile::Machine& m) {
  double most = 0;
  const bool matrix = m.matrix_rate > 0 && tile::matrix_work(kernel) > 0;  // spread along two axes
  for (const tile::Value& v : kernel.values) {
    double vectors = v.scratch ? 0 : matrix ? 4.0 / m.vector_bytes : 1;
    for (const AtomId a : v.axes) {
      const double n = static_cast<double>(kernel.atoms[a].extent.hint());
      vectors *= a == kernel.vector && !matrix ? std::ceil(n * 4 / m.vector_bytes) : n;
    }
    most = std::max(most, vectors);
  }
  return most;
}

Cost cost_of(const tile::Kernel& kernel, const tile::Machine& m) {
  tile::Traffic t = tile::count(kernel, m.cache);
  Cost c;
  c.bytes_read = t.memory_read;
  c.bytes_written = t.memory_written;
  c.flops = t.counts.flops;
  double blocks = std::max<double>(1, static_cast<double>(tile::blocks(kernel).hint()));
  double units = std::min<double>(m.units, blocks);
  double lanes = m.vector_bytes / 4.0, width = 1;
  if (kernel.vector >= 0)
    width = std::min(lanes, static_cast<double>(kernel.atoms[kernel.vector].extent.hint()));
  // Where parts of a vector run alone, blocks of few elements run side by side in a unit.
  const double side = m.warp_bytes > 0 ? std::clamp(blocks / m.units, 1.0, lanes / width) : 1;
  const double moved = t.memory_read + t.memory_written;
  const auto touched =
      static_cast<double>(t.counts.bytes_read + t.counts.bytes_written + t.counts.scratch_bytes);
  const bool near = moved <= static_cast<double>(m.shared_cache);  // and still there from the launch before
  // A store that does not go around the caches reads its line first.
  const bool around = std::all_of(kernel.args.begin(), kernel.args.end(),
                                  [](const tile::Arg& a) { return !a.output || a.streaming; });
  const double far = moved + (around ? 0 : t.memory_written);
  c.memory_seconds = (near ? moved / m.shared_bandwidth : far / m.memory_bandwidth) +
                     std::max(0.0, touched - moved) / m.cache_bandwidth;
  const double matrix = m.matrix_rate > 0 ? tile::matrix_work(kernel) : 0;
  double flops = t.counts.flops - matrix - (1 - kTaken) * t.voted;
  if (t.grouped > 0)  // by fours or by twos, as the axis has them
    flops -= t.grouped * (1 - 1 / tile::group_speed(m, kernel.atoms[kernel.vectors[0]].extent.value()));
  c.compute_seconds = flops / m.scalar_rate * (lanes / width / side) + t.gathered * kGather / m.scalar_rate +
                      (matrix > 0 ? matrix / m.matrix_rate : 0);
  double work = std::max(c.memory_seconds, c.compute_seconds) +
                kExposed * std::min(c.memory_seconds, c.compute_seconds) + t.issued * m.issue / lanes;
  c.serial = work < m.serial_limit || units < 2;
  c.seconds = c.serial ? m.serial_launch + work : m.launch + work / units;
  return c;
}

// A large reduction with too few results to keep the units busy becomes a reduction of partial ones. The
// number of parts depends on the shape alone, so the order of the sum does too. Reductions of one value split
// alike and go on sharing its loads.
constexpr int64_t kSplitElements = 1 << 18;
constexpr int64_t kSplitResults = 128;
constexpr int64_t kSplitParts = 64;

// The reduction of x in two steps, or null where it does not pay or no axis divides.
NodeRef split_reduction(const Node& n, const NodeRef& x) {
  if (n.prim->kind != Kind::reduce || n.prim->expand || !is_const(x->shape())) return {};
  if (volume(x->shape()).value() < kSplitElements || volume(n.shape()).value() >= kSplitResults) return {};
  const Ints& axes = n.attrs.ints("axes");
  auto reduced = [&](int64_t d) { return std::find(axes.begin(), axes.end(), d) != axes.end(); };
  int64_t kept = 0;  // where the parts end up among what is left
  for (int64_t axis = 0; axis < x->rank(); ++axis) {
    if (!reduced(axis)) {
      ++kept;
      continue;
    }
    int64_t extent = x->shape()[axis].value(), parts = kSplitParts;
    while (parts > 1 && (extent % parts || extent / parts < 2)) parts /= 2;
    if (parts == 1) continue;
    Shape shape = x->shape();
    shape[axis] = extent / parts;
    shape.insert(shape.begin() + axis, parts);
    Ints inner;
    for (int64_t a : axes) inner.push_back(a < axis ? a : a + 1);
    NodeRef partial = make(*n.prim, {build::reshape(x, shape)}, {{"axes", inner}});
    if (fault("plan_split_tail")) partial = build::slice_axis(partial, kept, 0, parts - 1);
    return make(*n.prim, {partial}, {{"axes", Ints{kept}}});
  }
  return {};
}

Graph split_reductions(const Graph& graph) {
  std::unordered_map<const Node*, NodeRef> done;
  for (const NodeRef& n : topological(graph.results)) {
    Nodes inputs;
    bool same = true;
    for (const NodeRef& i : n->inputs) {
      inputs.push_back(done.at(i.get()));
      same = same && inputs.back() == i;
    }
    NodeRef split = inputs.empty() ? NodeRef() : split_reduction(*n, inputs[0]);
    done[n.get()] = split ? split : same ? n : make(*n->prim, inputs, n->attrs);
  }
  Graph out = graph;
  for (NodeRef& r : out.results) r = done.at(r.get());
  return out;
}

class Planner {
 public:
  Planner(const Graph& graph, const tile::Machine& machine, const Options& options)
      : graph_(graph),
        machine_(machine),
        options_(options),
        flat_(flatten(graph, options.fixed)),
        alike_(flat_) {
    n_ = flat_.units.size();
    unit_users_.resize(n_);
    for (size_t u = 0; u < n_; ++u)
      for (int v : flat_.units[u].inputs) unit_users_[v].push_back(static_cast<int>(u));
    op_users_.resize(flat_.ops.size());
    for (size_t o = 0; o < flat_.ops.size(); ++o)
      for (int i : flat_.ops[o].inputs)
        if (flat_.ops[o].unit >= 0) op_users_[i].push_back(flat_.ops[o].unit);
    for (int r : flat_.results) is_result_.insert(r);
  }

  Plan make() {
    group_maps();
    dissolve();
    if (options_.fuse) merge();
    return assemble();
  }

 private:
  const Graph& graph_;
  const tile::Machine& machine_;
  const Options& options_;
  Flat flat_;
  Alike alike_;
  size_t n_ = 0;
  std::vector<std::vector<int>> unit_users_, op_users_;
  std::set<int> is_result_;
  std::vector<int> cluster_of_;               // unit -> cluster
  std::map<int, std::vector<int>> clusters_;  // cluster -> units, ascending
  using Shared = std::shared_ptr<const Candidate>;
  std::map<std::vector<int>, Shared> memo_;  // by units
  std::map<std::vector<int>, Shared> quick_,
      searched_;  // by the text of alike clusters; buffers by its numbers
  int next_cluster_ = 0;
  std::vector<int> levels_;                         // by cluster; empty: not known
  std::set<int> in_memory_;                         // constants that a launch has stored
  std::unordered_map<const Node*, NodeRef> refs_;   // the graph's nodes, for Launch.nodes
  std::map<int, std::pair<Plan, double>> repeats_;  // scan units that are loops of launches

  const Prim& prim_of(int u) const { return *flat_.units[u].node->prim; }
  bool pointwise(int u) const { return prim_of(u).kind == Kind::map || prim_of(u).kind == Kind::move; }

  // Maps (and moves) of one shape along edges, where no path can leave and come back: every other edge raises
  // the level.
  void group_maps() {
    std::vector<int> level(n_, 0), root(n_);
    std::vector<char> reads_nothing(n_, false);
    auto find = [&](int u) {
      while (root[u] != u) u = root[u] = root[root[u]];
      return u;
    };
    for (size_t u = 0; u < n_; ++u) {
      root[u] = static_cast<int>(u);
      const Unit& unit = flat_.units[u];
      auto joined = [&](int v) {
        return options_.fuse && pointwise(v) && pointwise(static_cast<int>(u)) &&
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
      reads_nothing[u] = pointwise(static_cast<int>(u)) && std::ranges::all_of(unit.operands, [&](int o) {
                           const Op& x = flat_.ops[o];
                           return x.kind == Op::Kind::constant || (x.unit >= 0 && reads_nothing[x.unit]);
                         });
      for (int v : unit.inputs) level[u] = std::max(level[u], level[v] + (joined(v) || absorbed(v) ? 0 : 1));
      for (int v : unit.inputs)
        if ((joined(v) && level[v] == level[u]) || absorbed(v)) root[find(static_cast<int>(u))] = find(v);
    }
    std::map<int, int> name;
    cluster_of_.resize(n_);
    for (size_t u = 0; u < n_; ++u) {
      auto [at, fresh] = name.try_emplace(find(static_cast<int>(u)), next_cluster_);
      if (fresh) ++next_cluster_;
      cluster_of_[u] = at->second;
      clusters_[at->second].push_back(static_cast<int>(u));
    }
  }

  // Maps that cannot be one kernel after all (a reshape between them that does not factor) stand alone again.
  void dissolve() {
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

  std::vector<int> outputs(const std::vector<int>& units) const {
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

  // The machine as a scan's tile sees it. Where parts of a vector run alone, it takes as small a part as
  // gives each unit two blocks.
  tile::Machine seen_by(const Instances& all, const Axes& axes) const {
    tile::Machine m = machine_;
    if (axes.time.empty() || m.warp_bytes == 0) return m;
    while (m.vector_bytes > m.warp_bytes && elements(all, axes) < m.units * m.vector_bytes / 2)
      m.vector_bytes /= 2;
    return m;
  }

  static double elements(const Instances& all, const Axes& axes) {
    double n = 1;
    for (AtomId a : axes.parallel) n *= static_cast<double>(all.space.extent(a).hint());
    return n;
  }

  // Whether a contraction's operand along the vectors goes by from beyond the cache, for a few rows.
  bool streams(const Instances& all, const Axes& axes) const {
    constexpr double kRows = 4;
    if (machine_.warp_bytes > 0 || axes.vector < 0 ||
        std::ranges::find(axes.parallel, axes.vector) == axes.parallel.end())
      return false;
    if (elements(all, axes) > kRows * static_cast<double>(all.space.extent(axes.vector).hint())) return false;
    double bytes = 0;
    for (const Inst& i : all.insts)
      if (i.kind == Inst::Kind::load)
        bytes += static_cast<double>(volume(i.shape).hint() * size_of(flat_.ops[i.op].type.dtype));
    return bytes > static_cast<double>(machine_.units * machine_.cache);
  }

  // Vectors along the vector axis of a tile.
  int unroll(const Instances& all, const Axes& axes) const {
    if (!axes.time.empty() && machine_.warp_bytes > 0) return 1;  // other warps hide the latency
    double work = 0;
    for (const Inst& i : all.insts) {
      if (i.kind == Inst::Kind::compute) work += flat_.ops[i.op].node->prim->cost;
    }
    if (const auto products = inner_products(flat_, all); !products.empty()) {
      if (axes.time.empty() &&
          std::ranges::any_of(products, [&](const InnerProduct& x) { return goes_by(all, x, axes.vector); }))
        return 1;
      const int registers = std::ranges::max(products, {}, &InnerProduct::registers).registers;
      return std::max(1, (axes.time.empty() && machine_.registers < 32 ? 2 : 4) / registers);
    }
    if (axes.time.empty()) return work > 60 ? 2 : 4;
    // A step waits for the one before: vectors side by side hide that, and share votes. But each unit gets
    // two blocks, and short axes stay in registers.
    int64_t rows = 1;
    for (AtomId a : axes.sequential)
      if (const Dim& n = all.space.extent(a); n.is_const() && n.value() <= 8) rows *= n.value();
    int vectors = 8;
    while (vectors > 2 && (vectors * rows > 32 ||
                           elements(all, axes) < machine_.units * vectors * machine_.vector_bytes / 2))
      vectors /= 2;
    return vectors;
  }

  // Costs that differ by less than 2 % are a tie, which fewer bytes decide.
  static bool better(const Cost& a, const Cost& b) {
    return a.seconds < b.seconds * (bytes_of(a) < bytes_of(b) * (1 - kTie) ? 1 + kTie : 1 - kTie);
  }

  Lowered lowered(const Instances& all, const Choice& choice) const {
    Lowered l = lower(flat_, all, choice, machine_);
    for (size_t a = 0; a < l.buffers.size(); ++a)
      if (flat_.ops[static_cast<size_t>(l.buffers[a])].fixed)
        if (auto layout = lay_out(l.kernel, a)) l.laid.emplace(a, *std::move(layout));
    return l;
  }

  Candidate schedule(const std::vector<int>& units, const std::vector<int>& outs, bool search) {
    Candidate best;
    try {
      Instances all = build_instances(flat_, units, outs);
      Axes axes = classify(flat_, all);
      auto attempt_on = [&](const Instances& split, const Choice& c) {
        try {
          Lowered l = lowered(split, c);
          Cost cost = cost_of(l.kernel, machine_);
          const bool fits = tile::scratch_bytes(l.kernel) <= machine_.cache;
          if (best.lowered.buffers.empty() || fits > best.fits ||
              (fits == best.fits && better(cost, best.cost))) {
            best.lowered = std::move(l);
            best.cost = cost;
            best.fits = fits;
            if (search) describe(best, LoopText(flat_, all, axes), split, c);
          }
        } catch (const Barrier& b) {
          best.barrier = b.why;
        }
      };
      auto attempt = [&](const Choice& c) { attempt_on(all, c); };
      tile::Machine seen = seen_by(all, axes);
      Choice choice = first_choice(flat_, all, axes, seen, unroll(all, axes));
      attempt(choice);
      // What a group keeps of fewer elements may fit.
      while (!best.fits && !axes.time.empty() && seen.warp_bytes > 0 && seen.vector_bytes > seen.warp_bytes) {
        seen.vector_bytes /= 2;
        choice = first_choice(flat_, all, axes, seen, unroll(all, axes));
        attempt(choice);
      }
      for (int vectors = unroll(all, axes); vectors > 0; vectors /= 2) {
        for (const Packing& p : packings(flat_, all, axes, machine_, vectors)) attempt_on(p.all, p.choice);
        if (best.fits) break;  // else what is kept of narrower tiles may fit
      }
      for (const Choice& c : matrix_tiles(flat_, all, axes, machine_)) attempt(c);
      if (streams(all, axes))
        if (const auto p = by_pieces(flat_, all, axes, machine_, 4)) {
          best = {};
          attempt_on(p->all, p->choice);
          if (!best.lowered.buffers.empty()) return best;
        }
      size_t times = axes.time.size();
      // Another order may keep less, but not that much less.
      const bool near = !best.fits && tile::scratch_bytes(best.lowered.kernel) <= kNear * machine_.cache;
      if (choice.order.size() > times + 1 && (search || best.lowered.buffers.empty() || near)) {
        Choice other = choice;
        std::sort(other.order.begin() + times, other.order.end());
        size_t count = 0;
        do attempt(other);
        while (++count < 24 && std::next_permutation(other.order.begin() + times, other.order.end()));
      }
      if (choice.order.size() > times && (search || !best.fits)) {
        Choice again = choice;
        again.keep = false;
        attempt(again);
      }
      if (options_.granted("online") && choice.order.size() > times && find_online(flat_, all).maximum >= 0) {
        Choice running = choice;
        running.keep = false;
        running.online = true;
        attempt(running);
        if (const auto p = by_blocks(flat_, all, axes, machine_, unroll(all, axes)))
          attempt_on(p->all, p->choice);
      }
      if (!best.lowered.buffers.empty()) best.barrier.clear();
      if (best.barrier.empty() && !best.fits) best.barrier = "what must be kept does not fit the cache";
    } catch (const Barrier& b) {
      best.barrier = b.why;
    }
    return best;
  }

  static void describe(Candidate& c, const LoopText& text, const Instances& split, const Choice& choice) {
    c.loops = text.print(split, choice);
    c.axes = text.axes();
    c.places.clear();
    for (size_t a = 0; a < c.lowered.buffers.size(); ++a)
      c.places.push_back(text.place(c.lowered.buffers[a], c.lowered.kernel.args[a].output));
  }

  // As it is written instead of as planned. Throws Barrier, what is wrong with that.
  Candidate by_hand(const std::vector<int>& units, const std::vector<int>& outs, const std::string& loops,
                    const Candidate& planned) const {
    const Instances all = build_instances(flat_, units, outs);
    const Axes axes = classify(flat_, all);
    const LoopText text(flat_, all, axes);
    const Packing p = text.parse(loops, machine_);
    if (p.choice.online && (!options_.granted("online") || find_online(flat_, all).maximum < 0))
      throw Barrier{options_.granted("online") ? "online: there is no maximum with which a sum scales"
                                               : "online changes rounding: allow=(\"online\",) grants it"};
    Candidate c;
    c.lowered = lowered(p.all, p.choice);
    const tile::Kernel& kernel = c.lowered.kernel;
    const double most = std::max(kMostVectors, tile_vectors(planned.lowered.kernel, machine_));
    if (const double vectors = tile_vectors(kernel, machine_); vectors > most)
      throw Barrier{
          fmt::format("the tile makes a value of {:.0f} registers, more than {:.0f}: write a smaller one",
                      vectors, most)};
    if (const auto scratch = tile::scratch_bytes(kernel); scratch > machine_.cache)
      throw Barrier{
          fmt::format("{} bytes are kept in scratch, but the cache of this machine has {}: write smaller "
                      "blocks outside, or pack less",
                      scratch, machine_.cache)};
    if (const auto complaints = tile::verify(kernel); !complaints.empty()) throw Barrier{complaints[0]};
    c.cost = cost_of(kernel, machine_);
    describe(c, text, p.all, p.choice);
    return c;
  }

  const Candidate& candidate(const std::vector<int>& units) {
    auto found = memo_.find(units);
    if (found != memo_.end()) return *found->second;
    if (units.size() == 1 && repeats_.contains(units[0])) {
      auto c = std::make_shared<Candidate>();
      c->barrier = "a loop of launches";
      c->cost.seconds = repeats_[units[0]].second;
      return *memo_.emplace(units, std::move(c)).first->second;
    }
    const std::vector<int> outs = outputs(units);
    return *memo_.emplace(units, found_once(alike_.form(units, outs), units, outs, false)).first->second;
  }

  // The schedule of all clusters of this form: searched once.
  Shared found_once(const Alike::Form& form, const std::vector<int>& units, const std::vector<int>& outs,
                    bool search) {
    auto& known = search ? searched_ : quick_;
    if (!form.text.empty())
      if (auto found = known.find(form.text); found != known.end()) return found->second;
    auto c = std::make_shared<Candidate>(schedule(units, outs, search));
    if (form.text.empty()) return c;
    for (int& b : c->lowered.buffers) b = static_cast<int>(std::ranges::find(form.ops, b) - form.ops.begin());
    return known.emplace(form.text, std::move(c)).first->second;
  }

  double cost(int cluster) {
    const auto& units = clusters_[cluster];
    const Candidate& c = candidate(units);
    if (!c.barrier.empty() && units.size() == 1 && is_loop(units[0]) && !repeats_.contains(units[0])) {
      repeat_plan(units[0]);
      memo_.erase(units);
      return candidate(units).cost.seconds;
    }
    return c.cost.seconds;
  }
  bool is_loop(int u) const { return prim_of(u).kind == Kind::control; }

  // Of every cluster: more than those of all that it reads.
  void find_levels() {
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
  std::optional<std::vector<int>> closure(int a, int b) {
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
  double room_seconds(const std::vector<int>& group, const std::vector<int>& together) const {
    const std::vector<int> kept = outputs(together);
    double bytes = 0;
    for (const int c : group)
      for (const int o : outputs(clusters_.at(c)))
        if (std::ranges::find(kept, o) == kept.end())
          bytes +=
              static_cast<double>(volume(flat_.ops[o].type.shape).hint() * size_of(flat_.ops[o].type.dtype));
    return std::max(0.0, bytes - kRoom) * kRoomWorth / machine_.memory_bandwidth;
  }

  void merge() {
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
        bytes += bytes_of(candidate(clusters_[c]).cost);
        for (int u : clusters_[c])
          if (repeats_.contains(u)) return {0, {}};
      }
      const Candidate& together = candidate(units_of(*group));
      if (!together.barrier.empty()) {
        notes_.emplace(std::min(a, b) * 100000LL + std::max(a, b), together.barrier);
        return {0, {}};
      }
      if (options_.granted("online")) apart += room_seconds(*group, units_of(*group));
      const double worth = bytes_of(together.cost) < bytes * (1 - kTie) ? kTie : kLaunchWorth;
      const double gained = apart * (1 + worth) - together.cost.seconds;
      if (gained <= 0 && group->size() == 2)
        notes_.insert_or_assign(std::min(a, b) * 100000LL + std::max(a, b),
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
  std::map<int64_t, std::string> notes_;

  // ---- loops of launches
  // -----------------------------------------------------------------------------------------
  void repeat_plan(int u) {
    const Node& n = *flat_.units[u].node;
    const Graph& body = *n.attrs.graph("body");
    Options inner = options_;
    inner.donate.clear();
    // Never split in a loop: its order must not depend on whether it is one kernel.
    const Graph graph = is_scan(n) ? body : masked_body(n);
    Plan p = Planner(graph, machine_, inner).make();
    double length = is_scan(n) ? static_cast<double>(n.attrs.shape("length")[0].hint()) : 16;
    double seconds = p.seconds * length;
    repeats_.emplace(u, std::pair{std::move(p), seconds});
  }

  // The body of a while loop whose condition is per element: where it does not hold, the state stays.
  static Graph masked_body(const Node& n) {
    const Graph &cond = *n.attrs.graph("cond"), &body = *n.attrs.graph("body");
    if (cond.results[0]->rank() == 0) return body;
    Nodes params = body.parameters;
    NodeRef go = build::call(cond, params)[0];
    Nodes next = build::call(body, params);
    for (size_t k = 0; k < next.size(); ++k) {
      Ints axes;
      for (int d = 0; d < go->rank(); ++d) axes.push_back(d);
      next[k] = build::select(build::broadcast(go, next[k]->shape(), axes), next[k], params[k]);
    }
    return Graph{params, next, body.names};
  }

  // A plan of a body, with its buffers added to the outer table. `given`: outer buffers for parameters and
  // results.
  void splice(const Plan& inner, const std::vector<int>& parameters, std::vector<int>& results, Plan& into,
              std::vector<Step>& steps) {
    std::vector<int> at(inner.buffers.size(), -1);
    results.assign(results.size(), -1);
    for (size_t b = 0; b < inner.buffers.size(); ++b) {
      const Buffer& x = inner.buffers[b];
      if (x.kind == Buffer::Kind::input)
        at[b] = parameters[x.index];
      else {
        at[b] = static_cast<int>(into.buffers.size());
        into.buffers.push_back({x.type, Buffer::Kind::temporary, -1, x.name});
        if (x.kind == Buffer::Kind::output) results[x.index] = at[b];
      }
    }
    std::function<void(std::vector<Step>&)> rename = [&](std::vector<Step>& list) {
      for (Step& s : list) {
        if (auto* l = std::get_if<Launch>(&s.what))
          for (int& b : l->buffers) b = at[b];
        else if (auto* c = std::get_if<Copy>(&s.what))
          c->from = at[c->from], c->to = at[c->to];
        else {
          auto r = std::make_shared<Repeat>(*std::get<std::shared_ptr<Repeat>>(s.what));
          auto move = [&](int& b) {
            if (b >= 0) b = at[b];
          };
          move(r->step);
          move(r->go);
          for (auto& c : r->carries) move(c.init), move(c.value), move(c.next);
          for (auto* slices : {&r->reads, &r->writes})
            for (auto& x : *slices) move(x.whole), move(x.part);
          rename(r->condition);
          rename(r->body);
          s.what = r;
        }
      }
    };
    std::vector<Step> copy = inner.steps;
    rename(copy);
    steps.insert(steps.end(), copy.begin(), copy.end());
  }

  int temporary(Plan& plan, const Type& t, std::string name) {
    plan.buffers.push_back({t, Buffer::Kind::temporary, -1, std::move(name)});
    return static_cast<int>(plan.buffers.size()) - 1;
  }

  void assemble_repeat(int u, Plan& plan, std::map<int, int>& buffer) {
    const Node& n = *flat_.units[u].node;
    bool scan = is_scan(n);
    int64_t carries = n.attrs.integer("carries"), xs = scan ? n.attrs.integer("xs") : 0;
    // The ops of the loop's inputs and outputs.
    std::vector<int> inputs, outs;
    for (int o : flat_.units[u].operands) inputs.push_back(buffer.at(o));
    for (int o : flat_.units[u].ops)
      if (flat_.ops[o].is_unit_output) outs.push_back(o);
    auto repeat = std::make_shared<Repeat>();
    const Plan& body = repeats_.at(u).first;
    std::vector<int> parameters;
    if (scan) {
      repeat->length = n.attrs.shape("length")[0];
      repeat->reverse = n.attrs.integer("reverse") != 0;
      repeat->step = temporary(plan, {Dtype::i64, {}}, "step");
      parameters.push_back(repeat->step);
    } else {
      repeat->length = -1;
    }
    std::vector<int> values;
    for (int64_t k = 0; k < carries; ++k) {
      int out = outs[k];
      int b = buffer.contains(out) ? buffer.at(out) : temporary(plan, flat_.ops[out].type, "state");
      buffer[out] = b;
      values.push_back(b);
      parameters.push_back(b);
    }
    for (int64_t k = 0; k < xs; ++k) {
      Type row = n.inputs[carries + k]->type();
      row.shape.erase(row.shape.begin());
      int part = temporary(plan, row, "row");
      repeat->reads.push_back({inputs[carries + k], part});
      parameters.push_back(part);
    }
    for (size_t k = carries + xs; k < inputs.size(); ++k) parameters.push_back(inputs[k]);
    std::vector<int> results(n.attrs.graph("body")->results.size());
    splice(body, parameters, results, plan, repeat->body);
    for (int64_t k = 0; k < carries; ++k) repeat->carries.push_back({inputs[k], values[k], results[k]});
    for (size_t k = carries; k < results.size(); ++k) {
      int out = outs[k];
      if (!buffer.contains(out)) buffer[out] = temporary(plan, flat_.ops[out].type, "rows");
      repeat->writes.push_back({buffer.at(out), results[k]});
    }
    if (!scan) {
      Options inner = options_;
      inner.donate.clear();
      Plan condition = Planner(*n.attrs.graph("cond"), machine_, inner).make();
      std::vector<int> go(1);
      splice(condition, parameters, go, plan, repeat->condition);
      repeat->go = go[0];
    }
    plan.steps.push_back({repeat});
    plan.seconds += repeats_.at(u).second;
  }
  static void add_copy(Plan& plan, int from, int to) {
    plan.steps.emplace_back().what.emplace<Copy>(Copy{.from = from, .to = to});
  }

  // ---- buffers and steps
  // -----------------------------------------------------------------------------------------
  Plan assemble() {
    Plan plan;
    std::map<int, int> buffer;  // op -> buffer
    for (size_t k = 0; k < flat_.parameters.size(); ++k) {
      std::string name = k < graph_.names.size() ? graph_.names[k] : "p" + std::to_string(k);
      buffer[flat_.parameters[k]] = static_cast<int>(plan.buffers.size());
      plan.buffers.push_back(
          {flat_.ops[flat_.parameters[k]].type, Buffer::Kind::input, static_cast<int>(k), name});
    }
    std::vector<std::pair<int, int>> copies;
    for (size_t k = 0; k < flat_.results.size(); ++k) {
      int op = flat_.results[k], b = static_cast<int>(plan.buffers.size());
      plan.buffers.push_back(
          {flat_.ops[op].type, Buffer::Kind::output, static_cast<int>(k), "r" + std::to_string(k)});
      if (buffer.contains(op))
        copies.push_back({op, b});
      else
        buffer[op] = b;
    }
    // Clusters in topological order.
    std::map<int, int> waiting;
    std::map<int, std::set<int>> after;
    for (auto& [c, units] : clusters_) {
      std::set<int> before;
      for (int u : units)
        for (int v : flat_.units[u].inputs)
          if (cluster_of_[v] != c) before.insert(cluster_of_[v]);
      waiting[c] = static_cast<int>(before.size());
      for (int b : before) after[b].insert(c);
    }
    std::set<std::pair<int, int>> ready;  // by first unit: deterministic
    for (auto& [c, units] : clusters_)
      if (!waiting[c]) ready.insert({units[0], c});
    size_t done = 0;
    for (int r : flat_.results) materialise(r, plan, buffer);
    while (!ready.empty()) {
      auto [first, c] = *ready.begin();
      ready.erase(ready.begin());
      ++done;
      const std::vector<int>& units = clusters_[c];
      cost(c);
      if (units.size() == 1 && repeats_.contains(units[0])) {
        int u = units[0];
        for (int o : flat_.units[u].operands) materialise(o, plan, buffer);
        assemble_repeat(u, plan, buffer);
      } else if (units.size() == 1 && prim_of(units[0]).has("same_bytes") &&
                 !candidate(units).barrier.empty()) {
        // Another shape of the same bytes: the same buffer, unless it is a result.
        int from = flat_.units[units[0]].operands[0], to = flat_.units[units[0]].ops[0];
        materialise(from, plan, buffer);
        if (buffer.contains(to))
          add_copy(plan, buffer.at(from), buffer.at(to));
        else
          buffer[to] = buffer.at(from);
      } else {
        launch(units, outputs(units), plan, buffer);
      }
      for (int d : after[c])
        if (--waiting[d] == 0) ready.insert({clusters_[d][0], d});
    }
    TENFOLD_CHECK(done == clusters_.size(), "clusters form a cycle");
    for (auto [op, b] : copies) add_copy(plan, buffer.at(op), b);
    std::set<std::string> said;
    for (auto& [key, why] : notes_) {
      int a = static_cast<int>(key / 100000), b = static_cast<int>(key % 100000);
      if (clusters_.contains(a) && clusters_.contains(b) && said.insert(why).second)
        plan.notes.push_back("not fused: " + why);
    }
    return plan;
  }

  // A constant that a step needs in memory.
  void materialise(int op, Plan& plan, std::map<int, int>& buffer) {
    if (flat_.ops[op].kind == Op::Kind::constant && in_memory_.insert(op).second)
      launch({}, {op}, plan, buffer);
  }

  void launch(const std::vector<int>& units, const std::vector<int>& outs, Plan& plan,
              std::map<int, int>& buffer) {
    if (outs.empty()) return;
    const Alike::Form form = alike_.form(units, outs);
    const Shared found = found_once(form, units, outs, true);
    std::vector<int> ops = found->lowered.buffers;
    if (!form.text.empty())
      for (int& o : ops) o = form.ops[o];
    if (!found->barrier.empty()) {
      std::string names;
      for (int u : units) names += std::string(prim_of(u).name) + " ";
      throw InternalError(fmt::format("no kernel for [{}]: {}", names, found->barrier));
    }
    Launch l;
    for (size_t a = 0; a < ops.size(); ++a)
      if (!found->lowered.kernel.args[a].output) materialise(ops[a], plan, buffer);
    const std::string name = name_of(units, plan.steps.size());
    std::vector<std::string> names;
    for (const int o : ops)
      names.push_back(buffer.contains(o) ? plan.buffers[buffer.at(o)].name : "t" + std::to_string(o));
    l.axes = axes_text(*found, names);
    const auto written = std::ranges::find_if(
        options_.loops, [&](const auto& entry) { return entry.first.empty() || entry.first == name; });
    Candidate hand;
    if (written != options_.loops.end()) try {
        hand = by_hand(units, outs, written->second, *found);
      } catch (const Barrier& b) {
        std::vector<std::string> types;
        for (size_t a = 0; a < ops.size(); ++a)
          types.push_back(names[a] + ": " + flat_.ops[ops[a]].type.str());
        user_error(
            "loops of {}: {}.\n  came   {}\n  axes   {}\n  types  {}\n  Write, as the planner does: {}", name,
            b.why, written->second, l.axes, fmt::join(types, ", "), found->loops);
      }
    const Candidate& c = written == options_.loops.end() ? *found : hand;
    for (size_t a = 0; a < ops.size(); ++a) {
      const int o = ops[a];
      if (const auto laid = c.lowered.laid.find(a); laid != c.lowered.laid.end()) {
        l.buffers.push_back(laid_buffer(o, c.lowered.kernel.args[a].shape, laid->second, plan));
        continue;
      }
      if (!buffer.contains(o)) buffer[o] = temporary(plan, flat_.ops[o].type, "t" + std::to_string(o));
      l.buffers.push_back(buffer.at(o));
    }
    auto kernel = std::make_shared<tile::Kernel>(tile::clone(c.lowered.kernel));
    kernel->name = name;
    for (size_t a = 0; a < l.buffers.size(); ++a) kernel->args[a].name = plan.buffers[l.buffers[a]].name;
    std::set<std::string> distinct;
    for (auto& a : kernel->args)
      while (!distinct.insert(a.name).second) a.name += "_";
    l.kernel = std::move(kernel);
    std::map<std::string_view, int> operations;
    if (refs_.empty())
      for (const NodeRef& n : topological(graph_.results)) refs_.emplace(n.get(), n);
    for (int u : units) {
      ++operations[prim_of(u).name];
      if (auto at = refs_.find(flat_.units[u].node); at != refs_.end()) l.nodes.push_back(at->second);
    }
    for (const auto& [name, count] : operations)
      l.operations += fmt::format("{}{}{}", l.operations.empty() ? "" : ", ", name,
                                  count > 1 ? fmt::format(" x{}", count) : "");
    l.cost = c.cost;
    l.loops = c.loops;
    plan.seconds += c.cost.seconds;
    plan.steps.emplace_back().what = std::move(l);
  }

  // One array for all kernels that read an input in the same order.
  int laid_buffer(int op, const Shape& shape, const Layout& layout, Plan& plan) const {
    const auto index = static_cast<int>(std::ranges::find(flat_.parameters, op) - flat_.parameters.begin());
    const auto found = std::ranges::find_if(plan.buffers, [&](const Buffer& b) {
      return b.kind == Buffer::Kind::laid && b.index == index && b.type.shape == shape && b.layout == layout;
    });
    if (found != plan.buffers.end()) return static_cast<int>(found - plan.buffers.begin());
    plan.buffers.push_back({{flat_.ops[op].type.dtype, shape},
                            Buffer::Kind::laid,
                            index,
                            plan.buffers[index].name + "_laid",
                            layout});
    return static_cast<int>(plan.buffers.size()) - 1;
  }

  // What the letters of its loops stand for, and where they stand.
  static std::string axes_text(const Candidate& c, const std::vector<std::string>& arguments) {
    if (c.axes.empty()) return "";
    std::string text = c.axes + ":";
    bool outputs = false;
    for (size_t a = 0; a < arguments.size(); ++a) {
      const bool first = outputs != c.lowered.kernel.args[a].output;
      outputs |= first;
      text += (first ? " -> " : a ? ", " : " ") + arguments[a] + c.places[a];
    }
    return text;
  }

  // The last two operations that are not moves: enough to recognise it in a profile.
  std::string name_of(const std::vector<int>& units, size_t k) const {
    std::string name = "k" + std::to_string(k);
    int shown = 0;
    for (auto u = units.rbegin(); u != units.rend() && shown < 2; ++u) {
      if (prim_of(*u).kind == Kind::move) continue;
      name += "_" + std::string(prim_of(*u).name);
      ++shown;
    }
    return name;
  }
};

void add_launches(const std::vector<Step>& steps, std::vector<const Launch*>& into) {
  for (const Step& s : steps)
    if (const auto* l = std::get_if<Launch>(&s.what)) {
      into.push_back(l);
    } else if (const auto* r = std::get_if<std::shared_ptr<Repeat>>(&s.what)) {
      add_launches((*r)->condition, into);
      add_launches((*r)->body, into);
    }
}

void check_names(const Plan& plan, const std::vector<std::pair<std::string, std::string>>& loops) {
  std::vector<const Launch*> launches;
  add_launches(plan.steps, launches);
  std::string known;
  for (const Launch* l : launches) known += fmt::format("\n  {}: {}", l->kernel->name, l->loops);
  for (const auto& [name, text] : loops) {
    if (name.empty() && launches.size() != 1)
      user_error("loops \"{}\" name no launch, and there are {}: write a name before them, of{}", text,
                 launches.size(), known.empty() ? " none" : known);
    if (!name.empty() &&
        std::ranges::none_of(launches, [&](const Launch* l) { return l->kernel->name == name; }))
      user_error("loops name \"{}\", which is no launch: choose of{}", name, known.empty() ? " none" : known);
  }
}

}  // namespace

Plan make_plan(const Graph& graph, const tile::Machine& machine, const Options& options) {
  Options plain = options;  // what is cut where does not depend on how launches run by hand
  plain.loops.clear();
  std::vector<Graph> proposed{split_reductions(graph)};
  const auto propose = [&](Graph other) {
    other = split_reductions(other);
    if (std::ranges::none_of(proposed, [&](const Graph& g) { return same(g, other); }))
      proposed.push_back(std::move(other));
  };
  if (options.granted("reassociate"))
    for (const Graph& g : {graph, common_factors(graph), distribute(graph)}) propose(reassociate(g));
  if (options.granted("factor") || options.granted("online")) {
    propose(factor(graph));
    if (options.granted("reassociate")) propose(reassociate(factor(graph)));
  }
  const size_t exact = proposed.size();
  for (const int pieces : {2, 3})
    if (machine.pairs && options.granted(pieces == 2 ? "bf16x3" : "bf16x6"))
      for (size_t k = 0, n = proposed.size(); k < n; ++k) propose(in_bf16(proposed[k], pieces));
  const Graph* chosen = nullptr;
  Plan best;
  for (const Graph& g : proposed)
    if (Plan plan = Planner(g, machine, plain).make(); !chosen || plan.seconds < best.seconds)
      best = std::move(plan), chosen = &g;
  if ((options.granted("bf16x3") || options.granted("bf16x6")) && chosen < &proposed[0] + exact)
    best.notes.push_back(
        proposed.size() > exact
            ? "f32 as pieces of bf16 is granted, not taken: it takes longer on this machine"
        : machine.pairs ? "f32 as pieces of bf16 is granted, but no product of f32 runs along an even axis"
                        : "f32 as pieces of bf16 is granted, but this machine does not add pairs of them");
  if (options.loops.empty()) return best;
  check_names(best, options.loops);
  return Planner(*chosen, machine, options).make();
}

double least_bytes(const Graph& graph) {
  auto size = [](const Type& t) { return static_cast<double>(volume(t.shape).hint() * size_of(t.dtype)); };
  // A move or an index takes an element of its first input for each of its own, at most.
  std::unordered_map<const Node*, double> needed;
  for (const NodeRef& n : topological(graph.results))
    for (size_t k = 0; k < n->inputs.size(); ++k) {
      const Node& from = *n->inputs[k];
      if (from.types.size() != 1) continue;
      const bool part = k == 0 && (n->prim->kind == Kind::move || n->prim->kind == Kind::index);
      needed[&from] += part ? std::min(size(n->type()), size(from.type())) : size(from.type());
    }
  double bytes = 0;
  for (const NodeRef& r : graph.results) {
    bytes += size(r->type());
    needed[r.get()] += size(r->type());
  }
  for (const NodeRef& p : graph.parameters)
    if (const auto found = needed.find(p.get()); found != needed.end())
      bytes += std::min(found->second, size(p->type()));
  return bytes;
}

}  // namespace tenfold::plan
