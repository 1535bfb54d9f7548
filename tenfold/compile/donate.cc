#include "tenfold/compile/donate.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>

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
    if (!(load.stmt->forms == store.stmt->forms) || !(load.loops == store.loops)) return false;
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
      if (copy->from == buffer || copy->to == buffer) into.push_back({s, nullptr, -1});
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

std::string why_not(const plan::Plan& plan, int from, int to) {
  if (!(plan.buffers[from].type == plan.buffers[to].type))
    return fmt::format("the argument is {}, the result {}", plan.buffers[from].type.str(),
                       plan.buffers[to].type.str());
  std::vector<Use> reads, writes;
  uses_of(plan.steps, from, reads);
  uses_of(plan.steps, to, writes);
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

}  // namespace

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
