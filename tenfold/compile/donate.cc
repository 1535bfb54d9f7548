#include "tenfold/compile/donate.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>

#include "tenfold/base/error.h"
#include "tenfold/base/fault.h"
#include "tenfold/ir/build.h"

namespace tenfold::compile {
namespace {

using tile::Item;
using tile::Kernel;
using tile::Stmt;

// The accesses of one argument of a kernel, in the order of the program.
struct Access {
  const Stmt* stmt = nullptr;
  std::vector<AtomId> loops;  // around it
  int position = 0;           // in the text of the kernel
};

class Accesses {
 public:
  Accesses(const Kernel& kernel, int arg) : arg_(arg), loops_(kernel.grid.begin(), kernel.grid.end()) {
    collect(kernel.body);
  }
  std::vector<Access> found;

 private:
  void collect(const tile::Body& body) {
    for (const Item& item : body) {
      ++position_;
      if (const auto* stmt = std::get_if<Stmt>(&item)) {
        const bool is_access = stmt->op == tile::Op::load || stmt->op == tile::Op::store;
        if (is_access && stmt->arg == arg_) found.push_back({stmt, loops_, position_});
      } else if (const auto* loop = std::get_if<std::unique_ptr<tile::Loop>>(&item)) {
        loops_.push_back((*loop)->atom);
        collect((*loop)->condition);
        collect((*loop)->body);
        loops_.pop_back();
      } else {
        collect(std::get<std::unique_ptr<tile::If>>(item)->body);
      }
    }
  }

  int arg_;
  int position_ = 0;
  std::vector<AtomId> loops_;
};

// Every load of `from` reads, before the store of `to`, the very elements that the store of the same
// iteration writes.
bool in_place(const Kernel& kernel, int from, int to) {
  const auto loads = Accesses(kernel, from).found, stores = Accesses(kernel, to).found;
  if (stores.size() != 1) return false;
  const Access& store = stores[0];
  std::set<AtomId> named;
  for (const Form& form : store.stmt->forms)
    for (const Term& term : form.terms) named.insert(term.atom);
  for (const Access& load : loads) {
    if (load.position > store.position) return false;
    const bool same = load.stmt->forms == store.stmt->forms && load.loops == store.loops;
    if (fault("donate_other_elements") ? false : !same) return false;
  }
  for (AtomId loop : store.loops)
    if (!named.contains(loop)) return false;  // the store is repeated
  return true;
}

struct Use {
  int step;
  const plan::Launch* launch;  // null: a copy or a loop
  int arg;
};

void uses_of(const std::vector<plan::Step>& steps, int buffer, std::vector<Use>& into) {
  for (int s = 0; s < static_cast<int>(steps.size()); ++s) {
    if (const auto* launch = std::get_if<plan::Launch>(&steps[s].what)) {
      for (int a = 0; a < static_cast<int>(launch->buffers.size()); ++a)
        if (launch->buffers[a] == buffer) into.push_back({s, launch, a});
    } else if (const auto* copy = std::get_if<plan::Copy>(&steps[s].what)) {
      bool touched = copy->from == buffer || copy->to == buffer;
      for (const auto& start : copy->starts) touched |= start.buffer == buffer;
      if (touched) into.push_back({s, nullptr, -1});
    } else {
      const plan::Repeat& repeat = *std::get<std::shared_ptr<plan::Repeat>>(steps[s].what);
      std::vector<Use> inside;
      uses_of(repeat.condition, buffer, inside);
      uses_of(repeat.body, buffer, inside);
      bool touched = !inside.empty();
      for (const auto& carry : repeat.carries)
        touched |= carry.init == buffer || carry.value == buffer || carry.next == buffer;
      for (const auto& slice : repeat.reads) touched |= slice.whole == buffer;
      for (const auto& slice : repeat.writes) touched |= slice.whole == buffer;
      if (touched) into.push_back({s, nullptr, -1});
    }
  }
}

bool copies_all(const plan::Step& step, int from, int to) {
  const auto* copy = std::get_if<plan::Copy>(&step.what);
  return copy && copy->from == from && copy->to == to && copy->starts.empty();
}

std::string why_not(const plan::Plan& plan, int from, int to) {
  if (!(plan.buffers[from].type == plan.buffers[to].type))
    return fmt::format("the argument is {}, the result {}", plan.buffers[from].type.str(),
                       plan.buffers[to].type.str());
  std::vector<Use> reads, writes;
  uses_of(plan.steps, from, reads);
  uses_of(plan.steps, to, writes);
  const auto is_itself = [&](const Use& use) { return copies_all(plan.steps[use.step], from, to); };
  std::erase_if(reads, is_itself);  // nothing to do where both are one
  std::erase_if(writes, is_itself);
  if (writes.empty()) return "nothing writes the result";
  const Use& write = writes.front();
  for (const Use& read : reads) {
    if (read.step < write.step) continue;
    if (read.step > write.step || !read.launch || !write.launch)
      return "the argument is read after the result is written";
    if (!in_place(*write.launch->kernel, read.arg, write.arg))
      return fmt::format("{} reads other elements of the argument than it writes",
                         write.launch->kernel->name);
  }
  return "";
}

// Above this part of the whole a box is not worth a copy of its own: the launch that computes the update can
// write all of the result.
constexpr double kLargestBox = 0.5;

bool is_small(const Node& update_slice) {
  const Shape &whole = update_slice.inputs[0]->shape(), &box = update_slice.inputs[1]->shape();
  return static_cast<double>(volume(box).hint()) <= kLargestBox * static_cast<double>(volume(whole).hint());
}

}  // namespace

std::vector<Placement> place_updates(Graph& graph, const std::vector<std::pair<int, int>>& donated) {
  std::vector<Placement> out;
  const auto source = [&](const NodeRef& node) -> Placement::Source {
    if (node->prim->has("constant")) return {.value = node->attrs.scalar("value").i()};
    if (const auto at = std::ranges::find(graph.parameters, node); at != graph.parameters.end())
      return {.parameter = static_cast<int>(at - graph.parameters.begin())};
    graph.results.push_back(node);
    return {.result = static_cast<int>(graph.results.size()) - 1};
  };
  std::set<int> taken;
  for (const auto& [parameter, result] : donated) {
    Nodes updates;  // the last one first
    NodeRef base = graph.results[result];
    const auto can_be_placed = [](const NodeRef& n) {
      return n->prim->has("replaces_box") && is_small(*n) &&
             std::all_of(n->inputs.begin() + 2, n->inputs.end(),
                         [](const NodeRef& start) { return start->dtype() != Dtype::u64; });
    };
    for (; can_be_placed(base); base = base->inputs[0]) updates.push_back(base);
    if (updates.empty() || base != graph.parameters[parameter] || !taken.insert(parameter).second) continue;
    graph.results[result] = base;
    for (auto update = updates.rbegin(); update != updates.rend(); ++update) {
      const Nodes& inputs = (*update)->inputs;
      Placement placement{.result = result, .update = {}, .starts = {}};
      // A constant of rank 0 is no update: its box would be all of x.
      placement.update = source(inputs[1]);
      for (size_t k = 2; k < inputs.size(); ++k)
        placement.starts.push_back(
            source(inputs[k]->prim->has("constant") ? inputs[k] : build::convert(inputs[k], Dtype::i64)));
      out.push_back(std::move(placement));
    }
  }
  return out;
}

void add_placements(plan::Plan& plan, const std::vector<Placement>& placements, size_t results) {
  const auto buffer = [&](const Placement::Source& source) {
    using Kind = plan::Buffer::Kind;
    const Kind kind = source.parameter >= 0 ? Kind::input : Kind::output;
    const int index = source.parameter >= 0 ? source.parameter : source.result;
    if (index < 0) return -1;
    const auto at = std::ranges::find_if(
        plan.buffers, [&](const plan::Buffer& b) { return b.kind == kind && b.index == index; });
    TENFOLD_CHECK(at != plan.buffers.end(), "what is placed has no buffer");
    return static_cast<int>(at - plan.buffers.begin());
  };
  for (const Placement& placement : placements) {
    plan::Copy copy{
        .from = buffer(placement.update), .to = buffer({.result = placement.result}), .starts = {}};
    for (const auto& start : placement.starts) copy.starts.push_back({buffer(start), start.value});
    plan.steps.push_back({std::move(copy)});
  }
  for (plan::Buffer& b : plan.buffers)
    if (b.kind == plan::Buffer::Kind::output && b.index >= static_cast<int>(results)) {
      b.kind = plan::Buffer::Kind::temporary;
      b.index = -1;
    }
}

Donations check_donations(const plan::Plan& plan, const std::vector<std::pair<int, int>>& asked) {
  Donations out;
  const auto find = [&](plan::Buffer::Kind kind, int index) {
    const auto at = std::ranges::find_if(
        plan.buffers, [&](const plan::Buffer& b) { return b.kind == kind && b.index == index; });
    return at == plan.buffers.end() ? -1 : static_cast<int>(at - plan.buffers.begin());
  };
  for (const auto& [parameter, result] : asked) {
    const int from = find(plan::Buffer::Kind::input, parameter),
              to = find(plan::Buffer::Kind::output, result);
    const std::string reason = from < 0 ? "the argument is not used"
                               : to < 0 ? "the result has no buffer of its own"
                                        : why_not(plan, from, to);
    if (reason.empty())
      out.safe.emplace_back(parameter, result);
    else
      out.notes.push_back(fmt::format("donated argument {} is copied: {}", parameter, reason));
  }
  return out;
}

}  // namespace tenfold::compile
