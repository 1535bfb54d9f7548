#include "tenfold/plan/schedule.h"

#include <algorithm>

#include <fmt/format.h>

#include "tenfold/plan/loops.h"
#include "tenfold/plan/matrix.h"
#include "tenfold/plan/online.h"
#include "tenfold/plan/pack.h"
#include "tenfold/tile/matrix.h"

namespace tenfold::plan {
namespace {

constexpr int64_t kNear = 2;  // times the cache: what is kept that another order of loops may make fit
constexpr double kMostVectors =
    64;  // of a value in a tile that is written by hand: what is unrolled has an end

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

double elements(const Instances& all, const Axes& axes) {
  double n = 1;
  for (AtomId a : axes.parallel) n *= static_cast<double>(all.space.extent(a).hint());
  return n;
}

void describe(Candidate& c, const LoopText& text, const Instances& split, const Choice& choice) {
  c.loops = text.print(split, choice);
  c.axes = text.axes();
  c.places.clear();
  for (size_t a = 0; a < c.lowered.buffers.size(); ++a)
    c.places.push_back(text.place(c.lowered.buffers[a], c.lowered.kernel.args[a].output));
}

}  // namespace

// The machine as a scan's tile sees it. Where parts of a vector run alone, it takes as small a part as
// gives each unit two blocks.
tile::Machine Scheduler::seen_by(const Instances& all, const Axes& axes) const {
  tile::Machine m = machine_;
  if (axes.time.empty() || m.warp_bytes == 0) return m;
  while (m.vector_bytes > m.warp_bytes && elements(all, axes) < m.units * m.vector_bytes / 2)
    m.vector_bytes /= 2;
  return m;
}

// Whether a contraction's operand along the vectors goes by from beyond the cache, for a few rows.
bool Scheduler::streams(const Instances& all, const Axes& axes) const {
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
int Scheduler::unroll(const Instances& all, const Axes& axes) const {
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
  while (vectors > 2 &&
         (vectors * rows > 32 || elements(all, axes) < machine_.units * vectors * machine_.vector_bytes / 2))
    vectors /= 2;
  return vectors;
}

Lowered Scheduler::lowered(const Instances& all, const Choice& choice) const {
  Lowered l = lower(flat_, all, choice, machine_);
  for (size_t a = 0; a < l.buffers.size(); ++a)
    if (flat_.ops[static_cast<size_t>(l.buffers[a])].fixed)
      if (auto layout = lay_out(l.kernel, a)) l.laid.emplace(a, *std::move(layout));
  return l;
}

Candidate Scheduler::schedule(const std::vector<int>& units, const std::vector<int>& outs,
                              bool search) const {
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
    if (const AtomId narrow = short_columns(flat_, all, axes); narrow >= 0) {
      Axes along = axes;
      along.vector = narrow;
      attempt(first_choice(flat_, all, along, seen, 1));
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

// As it is written instead of as planned. Throws Barrier, what is wrong with that.
Candidate Scheduler::by_hand(const std::vector<int>& units, const std::vector<int>& outs,
                             const std::string& loops, const Candidate& planned) const {
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
    throw Barrier{fmt::format(
        "the tile makes a value of {:.0f} registers, more than {:.0f}: write a smaller one", vectors, most)};
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

}  // namespace tenfold::plan
