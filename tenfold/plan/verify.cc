#include "tenfold/plan/verify.h"

#include <algorithm>
#include <cmath>
#include <set>

#include <fmt/format.h>

#include "tenfold/base/error.h"

namespace tenfold::plan {
namespace {

using tile::Kernel;

// Bounds that the planner stays far below. They keep index arithmetic within 64 bits and tiles on the stack.
constexpr double kMostIndex = 0x1p62;
constexpr double kMostCost = 1e17;       // seconds, bytes or operations
constexpr double kMostTiles = 0x1p20;    // bytes of all the tiles of a kernel that are not scratch
constexpr double kMostScratch = 0x1p32;  // bytes

template <class Visit>
void for_each_step(const std::vector<Step>& steps, const Visit& visit, int& number) {
  for (const Step& step : steps) {
    visit(step, number++);
    if (const auto* repeat = std::get_if<std::shared_ptr<Repeat>>(&step.what)) {
      for_each_step((*repeat)->condition, visit, number);
      for_each_step((*repeat)->body, visit, number);
    }
  }
}

template <class Visit>
void for_each_step(const Plan& plan, const Visit& visit) {
  int number = 0;
  for_each_step(plan.steps, visit, number);
}

template <class Visit>
void for_each_form(const tile::Body& body, const Visit& visit) {
  const auto operand = [&](const tile::Operand& o) { std::ranges::for_each(o.at, visit); };
  for (const tile::Item& item : body) {
    if (const auto* stmt = std::get_if<tile::Stmt>(&item)) {
      std::ranges::for_each(stmt->forms, visit);
      std::ranges::for_each(stmt->operands, operand);
    } else if (const auto* loop = std::get_if<std::unique_ptr<tile::Loop>>(&item)) {
      operand((*loop)->go);
      for (const tile::Carry& carry : (*loop)->carries) operand(carry.next);
      for_each_form((*loop)->condition, visit);
      for_each_form((*loop)->body, visit);
    } else {
      const tile::If& vote = *std::get<std::unique_ptr<tile::If>>(item);
      operand(vote.mask);
      for_each_form(vote.body, visit);
    }
  }
}

// ---- sizes, at known values of the symbols

class Sizes {
 public:
  Sizes(const Plan& plan, const std::map<std::string, int64_t>& symbols) : plan_(plan), symbols_(symbols) {}

  std::vector<Complaint> check() {
    for (size_t b = 0; b < plan_.buffers.size(); ++b) {
      Complaint at{.step = -1, .buffer = static_cast<int>(b), .kernel = nullptr, .text = {}};
      guarded(at, [&] { return shape(plan_.buffers[b].type.shape); });
    }
    for_each_step(plan_, [&](const Step& step, int number) {
      Complaint at{.step = number, .buffer = -1, .kernel = nullptr, .text = {}};
      if (const auto* launch = std::get_if<Launch>(&step.what)) {
        at.kernel = launch->kernel.get();
        if (seen_.insert(at.kernel).second) guarded(at, [&] { return kernel(*launch->kernel); });
      } else if (const auto* copy = std::get_if<Copy>(&step.what)) {
        guarded(at, [&] { return box(*copy); });
      } else {
        const Repeat& repeat = *std::get<std::shared_ptr<Repeat>>(step.what);
        guarded(at, [&] {
          return repeat.go < 0 && of(repeat.length) < 0
                     ? fmt::format("the loop runs {} times", of(repeat.length))
                     : "";
        });
      }
    });
    return std::move(complaints_);
  }

 private:
  int64_t of(const Dim& dim) const { return dim.is_const() ? dim.value() : dim.evaluate(symbols_); }

  // Dimensions complain of what does not fit 64 bits.
  template <class Check>
  void guarded(Complaint at, const Check& check) {
    try {
      at.text = check();
    } catch (const UserError& error) {
      at.text = error.what();
    }
    if (!at.text.empty()) complaints_.push_back(std::move(at));
  }

  std::string shape(const Shape& dims) const {
    double elements = 1;
    for (const Dim& dim : dims) {
      const int64_t extent = of(dim);
      if (extent < 0) return fmt::format("an extent of {} is {}", str(dims), extent);
      elements *= static_cast<double>(extent);
    }
    constexpr double kMostElements = kMostIndex / 16;  // the largest element has 16 bytes
    if (elements > kMostElements) return fmt::format("{} does not fit the memory", str(dims));
    return "";
  }

  std::string box(const Copy& copy) const {
    const Shape &part = plan_.buffers[copy.from].type.shape, &whole = plan_.buffers[copy.to].type.shape;
    for (size_t d = 0; d < copy.starts.size(); ++d)
      if (of(part[d]) > of(whole[d]))
        return fmt::format("a box of {} does not lie in {}", str(part), str(whole));
    return "";
  }

  std::string kernel(const Kernel& k) const {
    for (const tile::Arg& arg : k.args)
      if (std::string why = shape(arg.shape); !why.empty()) return fmt::format("{}: {}", arg.name, why);
    double blocks = 1;
    for (const tile::Atom& atom : k.atoms)
      if (const int64_t extent = of(atom.extent); extent < 0 || static_cast<double>(extent) > kMostIndex)
        return fmt::format("the extent of {} is {}", atom.name, extent);
    for (const AtomId atom : k.grid) blocks *= static_cast<double>(of(k.atoms.at(atom).extent));
    if (blocks > kMostIndex) return "the grid has more blocks than can be counted";
    double tiles = 0, scratch = 0;
    for (const tile::Value& value : k.values) {
      double bytes = size_of(value.dtype);
      for (const AtomId axis : value.axes) {
        const int64_t extent = of(k.atoms.at(axis).extent);
        if (extent < 1)
          return fmt::format("the axis {} of {} has no elements", k.atoms[axis].name, value.name);
        bytes *= static_cast<double>(extent);
      }
      (value.scratch ? scratch : tiles) += bytes;
    }
    if (tiles > kMostTiles)
      return fmt::format("its tiles have {:.0f} bytes, more than {:.0f}", tiles, kMostTiles);
    if (scratch > kMostScratch)
      return fmt::format("its scratch has {:.0f} bytes, more than {:.0f}", scratch, kMostScratch);
    std::string far;
    const auto reach = [&](const Form& form) {
      double sum = std::abs(static_cast<double>(of(form.offset)));
      for (const Term& term : form.terms)
        sum += std::abs(static_cast<double>(of(term.coef)) *
                        static_cast<double>(of(k.atoms.at(term.atom).extent)));
      if (sum > kMostIndex && far.empty()) far = tile::print(k, form);
    };
    for_each_form(k.body, reach);
    for (const tile::Guard& guard : k.guards) {
      reach(guard.form);
      reach({.offset = guard.limit, .terms = {}, .whole = false});
    }
    if (!far.empty()) return fmt::format("the form {} does not fit 64 bits", far);
    if (const auto complaints = tile::verify(k, symbols_); !complaints.empty()) return complaints[0];
    return stores(k);
  }

  // An element that is left out would hold what was in memory before.
  std::string stores(const Kernel& k) const {
    double needed = 0;
    for (const tile::Arg& arg : k.args) {
      if (!arg.output) continue;
      double bytes = size_of(arg.dtype);
      for (const Dim& dim : arg.shape) bytes *= static_cast<double>(of(dim));
      needed += bytes;
    }
    const auto written = static_cast<double>(tile::count(k, 0, symbols_).counts.bytes_written);
    if (written == needed) return "";
    return fmt::format("it stores {:.0f} bytes, but its outputs have {:.0f}: each element is stored once",
                       written, needed);
  }

  const Plan& plan_;
  const std::map<std::string, int64_t>& symbols_;
  std::set<const Kernel*> seen_;
  std::vector<Complaint> complaints_;
};

// ---- what holds for all values

class Verifier {
 public:
  explicit Verifier(const Plan& plan) : plan_(plan) {}

  std::vector<Complaint> check() {
    check_table();
    for_each_step(plan_, [&](const Step& step, int number) {
      step_ = number;
      check_numbers(step);
    });
    if (!complaints_.empty()) return std::move(complaints_);  // what follows trusts every number
    State state;
    for (const Buffer& b : plan_.buffers) {
      const bool given = b.kind == Buffer::Kind::input || b.kind == Buffer::Kind::laid;
      state.known.push_back(given);
      state.locked.push_back(given ? "an input" : "");
    }
    for_each_step(plan_, [&](const Step& step, int number) {
      step_ = number;
      if (const auto* repeat = std::get_if<std::shared_ptr<Repeat>>(&step.what))
        for (const auto* slices : {&(*repeat)->reads, &(*repeat)->writes})
          for (const Repeat::Slice& slice : *slices) {
            if (!state.locked[slice.part].empty())
              complain("{} is a row of two loops, or an input", name(slice.part));
            state.locked[slice.part] = "a row, outside its loop";
          }
    });
    next_ = 0;
    check(plan_.steps, state);
    step_ = -1;
    for (size_t b = 0; b < plan_.buffers.size(); ++b)
      if (plan_.buffers[b].kind == Buffer::Kind::output && !state.known[b]) {
        buffer_ = static_cast<int>(b);
        complain("nothing writes the output {}", name(buffer_));
      }
    return std::move(complaints_);
  }

 private:
  struct State {
    std::vector<bool> known;               // written, so that it may be read
    std::vector<std::string_view> locked;  // why it may not be written
  };

  template <class... Args>
  void complain(fmt::format_string<Args...> format, Args&&... args) {
    complaints_.push_back({.step = step_,
                           .buffer = buffer_,
                           .kernel = nullptr,
                           .text = fmt::format(format, std::forward<Args>(args)...)});
  }

  const std::string& name(int b) const { return plan_.buffers[b].name; }
  const Type& type(int b) const { return plan_.buffers[b].type; }
  bool exists(int b) const { return b >= 0 && b < std::ssize(plan_.buffers); }

  void check_table() {
    std::map<std::pair<Buffer::Kind, int>, int> seen;
    std::map<Buffer::Kind, int> counts;
    for (size_t b = 0; b < plan_.buffers.size(); ++b) {
      const Buffer& buffer = plan_.buffers[b];
      buffer_ = static_cast<int>(b);
      if (buffer.kind == Buffer::Kind::temporary || buffer.kind == Buffer::Kind::laid) continue;
      ++counts[buffer.kind];
      if (!seen.try_emplace({buffer.kind, buffer.index}, buffer_).second)
        complain("{} {} stands twice", kind(buffer), buffer.index);
    }
    for (const auto& [key, b] : seen) {
      buffer_ = b;
      if (key.second < 0 || key.second >= counts[key.first])
        complain("{} {} is one of {}: they are counted from 0", kind(plan_.buffers[b]), key.second,
                 counts[key.first]);
    }
    for (size_t b = 0; b < plan_.buffers.size(); ++b) {
      const Buffer& buffer = plan_.buffers[b];
      if (buffer.kind != Buffer::Kind::laid) continue;
      buffer_ = static_cast<int>(b);
      const auto input = seen.find({Buffer::Kind::input, buffer.index});
      if (input == seen.end())
        complain("there is no input {} to lay out", buffer.index);
      else if (const Type& from = type(input->second); buffer.type.dtype != from.dtype)
        complain("it is {}, but {} is {}", buffer.type.str(), name(input->second), from.str());
      else if (const std::string why = complaint(buffer.layout, buffer.type.shape, from.shape); !why.empty())
        complain("{} cannot be laid out like this: {}", name(input->second), why);
    }
    buffer_ = -1;
  }

  static std::string_view kind(const Buffer& b) { return b.kind == Buffer::Kind::input ? "input" : "output"; }

  void check_numbers(const Step& step) {
    const auto all = [&](std::initializer_list<int> list) {
      for (const int b : list)
        if (!exists(b)) complain("it names buffer {}, there are {}", b, plan_.buffers.size());
    };
    if (const auto* launch = std::get_if<Launch>(&step.what)) {
      if (!launch->kernel) return complain("a launch has no kernel");
      for (const int b : launch->buffers) all({b});
      if (launch->buffers.size() != launch->kernel->args.size())
        complain("{} takes {} buffers, {} came", launch->kernel->name, launch->kernel->args.size(),
                 launch->buffers.size());
    } else if (const auto* copy = std::get_if<Copy>(&step.what)) {
      all({copy->from, copy->to});
      for (const Copy::Start& start : copy->starts)
        if (start.buffer != -1) all({start.buffer});
    } else {
      const auto& repeat = std::get<std::shared_ptr<Repeat>>(step.what);
      if (!repeat) return complain("a loop is missing");
      if (repeat->step != -1) all({repeat->step});
      if (repeat->go != -1) all({repeat->go});
      for (const auto& carry : repeat->carries) all({carry.init, carry.value, carry.next});
      for (const auto* slices : {&repeat->reads, &repeat->writes})
        for (const auto& slice : *slices) all({slice.whole, slice.part});
    }
  }

  void read(int b, const State& state) {
    if (!state.known[b]) complain("it reads {}, which nothing has written", name(b));
  }

  void write(int b, State& state) {
    if (state.locked[b].empty())
      state.known[b] = true;
    else
      complain("it writes {}, which is {}", name(b), state.locked[b]);
  }

  void same_elements(int a, int b) {
    if (type(a).dtype == type(b).dtype && volume(type(a).shape) == volume(type(b).shape)) return;
    complain("{} is {}, but {} is {}", name(a), type(a).str(), name(b), type(b).str());
  }

  void is_number(int b, std::string_view what) {
    if (type(b).dtype != Dtype::i64 || !(volume(type(b).shape) == Dim(1)))
      complain("{} {} is {}, it must be i64[]", what, name(b), type(b).str());
  }

  void check(const std::vector<Step>& steps, State& state) {
    for (const Step& step : steps) {
      step_ = next_++;
      try {
        if (const auto* launch = std::get_if<Launch>(&step.what))
          check(*launch, state);
        else if (const auto* copy = std::get_if<Copy>(&step.what))
          check(*copy, state);
        else
          check(*std::get<std::shared_ptr<Repeat>>(step.what), state);
      } catch (const UserError& error) {  // of a volume that does not fit 64 bits
        complain("{}", error.what());
      }
    }
  }

  void check(const Launch& launch, State& state) {
    const Kernel& kernel = *launch.kernel;
    std::set<int> inputs, outputs;
    for (size_t a = 0; a < kernel.args.size(); ++a) {
      const tile::Arg& arg = kernel.args[a];
      const int b = launch.buffers[a];
      if (arg.dtype != type(b).dtype || !(volume(arg.shape) == volume(type(b).shape)))
        complain("{} of {} is {}{}, but {} is {}", arg.name, kernel.name, tenfold::name(arg.dtype),
                 str(arg.shape), name(b), type(b).str());
      if (!arg.output) {
        read(b, state);
        inputs.insert(b);
      } else if (!outputs.insert(b).second) {
        complain("{} stands for two outputs of {}", name(b), kernel.name);
      }
    }
    for (const int b : outputs) {
      if (inputs.contains(b)) complain("{} is both read and written by {}", name(b), kernel.name);
      write(b, state);
    }
    for (const double number : {launch.cost.seconds, launch.cost.bytes_read, launch.cost.bytes_written,
                                launch.cost.flops, launch.cost.memory_seconds, launch.cost.compute_seconds})
      if (!(number >= 0 && number <= kMostCost)) complain("the number {} is no cost", number);
  }

  void check(const Copy& copy, State& state) {
    if (copy.from == copy.to) complain("{} is copied to itself", name(copy.from));
    read(copy.from, state);
    if (copy.starts.empty()) {
      same_elements(copy.from, copy.to);
      return write(copy.to, state);
    }
    read(copy.to, state);  // what stands around the box stays
    write(copy.to, state);
    const Type &box = type(copy.from), &whole = type(copy.to);
    if (box.dtype != whole.dtype || box.shape.size() != whole.shape.size() ||
        box.shape.size() != copy.starts.size())
      complain("{} starts place {}, a {}, in {}, a {}", copy.starts.size(), name(copy.from), box.str(),
               name(copy.to), whole.str());
    for (const Copy::Start& start : copy.starts) {
      if (start.buffer < 0) continue;
      is_number(start.buffer, "the start");
      read(start.buffer, state);
      if (start.buffer == copy.to) complain("{} is its own start", name(copy.to));
    }
  }

  // The runtime renames the buffers of a loop: each has one part in it.
  void check(const Repeat& repeat, State& outer) {
    const bool is_while = repeat.go >= 0;
    if (is_while && (repeat.reverse || !repeat.reads.empty() || !repeat.writes.empty()))
      complain("a while loop neither runs in reverse nor has rows");
    if (!is_while && !repeat.condition.empty()) complain("the loop has a condition, but tests nothing");

    std::set<int> own;
    const auto once = [&](int b) {
      if (!own.insert(b).second) complain("{} has two parts in this loop", name(b));
    };
    if (repeat.step >= 0) once(repeat.step);
    if (is_while) once(repeat.go);
    for (const auto& carry : repeat.carries) {
      once(carry.value);
      if (carry.next != carry.value) once(carry.next);
    }
    for (const auto& slice : repeat.reads) once(slice.part);
    for (const auto& slice : repeat.writes) once(slice.part), once(slice.whole);

    State inner = outer;
    const auto given = [&](int b, std::string_view why) {
      inner.known[b] = true;
      inner.locked[b] = why;
    };
    const auto from_outside = [&](int b, std::string_view why) {
      read(b, outer);
      if (own.contains(b)) complain("{} has two parts in this loop", name(b));
      if (inner.locked[b].empty()) inner.locked[b] = why;
    };
    if (repeat.step >= 0) {
      is_number(repeat.step, "the step");
      is_temporary(repeat.step);
      write(repeat.step, outer);
      given(repeat.step, "the step of the loop");
    }
    for (const auto& carry : repeat.carries) {
      same_elements(carry.init, carry.value);
      same_elements(carry.next, carry.value);
      from_outside(carry.init, "the first value of a carry");
      write(carry.value, outer);
      inner.known[carry.value] = true;
      if (carry.next == carry.value) continue;
      given(carry.value, "a carry: its next value is written");
      write(carry.next, outer);
      inner.known[carry.next] = false;
    }
    for (const auto& slice : repeat.reads) {
      check_row(slice, repeat.length);
      from_outside(slice.whole, "read by rows");
      given(slice.part, "a row that is read");
    }
    for (const auto& slice : repeat.writes) {
      check_row(slice, repeat.length);
      write(slice.whole, outer);
      given(slice.whole, "written by rows");
      inner.known[slice.whole] = inner.known[slice.part] = false;
      inner.locked[slice.part] = "";
    }

    const int here = step_;
    check(repeat.condition, inner);
    step_ = here;
    if (is_while) {
      if (!is_bool(type(repeat.go).dtype))
        complain("the tested buffer {} is {}, it must be bool", name(repeat.go), type(repeat.go).str());
      read(repeat.go, inner);
    }
    check(repeat.body, inner);
    step_ = here;
    for (const auto& carry : repeat.carries) {
      if (!inner.known[carry.next])
        complain("the body does not write {}, the next value of {}", name(carry.next), name(carry.value));
      outer.known[carry.next] = carry.next == carry.value;
    }
    for (const auto& slice : repeat.writes)
      if (!inner.known[slice.part])
        complain("the body does not write {}, a row of {}", name(slice.part), name(slice.whole));
    if (repeat.step >= 0) outer.known[repeat.step] = false;
  }

  void is_temporary(int b) {
    if (plan_.buffers[b].kind != Buffer::Kind::temporary) complain("{} is no temporary", name(b));
  }

  void check_row(const Repeat::Slice& slice, const Dim& length) {
    is_temporary(slice.part);
    const Type &row = type(slice.part), &whole = type(slice.whole);
    if (row.dtype != whole.dtype || !(volume(row.shape) * length == volume(whole.shape)))
      complain("{}, a {}, is no row of {}, a {}, in a loop of {}", name(slice.part), row.str(),
               name(slice.whole), whole.str(), length.str());
  }

  const Plan& plan_;
  std::vector<Complaint> complaints_;
  int step_ = -1, buffer_ = -1, next_ = 0;
};

}  // namespace

std::map<std::string, Symbol> symbols_of(const Plan& plan) {
  std::map<std::string, Symbol> symbols;
  for (const Buffer& b : plan.buffers)
    for (const Dim& dim : b.type.shape) dim.symbols(symbols);
  for_each_step(plan, [&](const Step& step, int) {
    if (const auto* launch = std::get_if<Launch>(&step.what))
      symbols.merge(tile::symbols_of(*launch->kernel));
    else if (const auto* repeat = std::get_if<std::shared_ptr<Repeat>>(&step.what))
      (*repeat)->length.symbols(symbols);
  });
  return symbols;
}

std::vector<Complaint> verify(const Plan& plan) {
  std::vector<Complaint> complaints = Verifier(plan).check();
  if (!complaints.empty()) return complaints;
  std::map<std::string, int64_t> hints;
  for (const auto& [name, symbol] : symbols_of(plan)) hints[name] = Dim::symbol(symbol).hint();
  complaints = verify_sizes(plan, hints);
  if (hints.empty() || !complaints.empty()) return complaints;
  std::set<const Kernel*> seen;
  for_each_step(plan, [&](const Step& step, int number) {
    const auto* launch = std::get_if<Launch>(&step.what);
    if (!launch || !seen.insert(launch->kernel.get()).second) return;
    for (std::string& text : tile::verify(*launch->kernel))
      complaints.push_back(
          {.step = number, .buffer = -1, .kernel = launch->kernel.get(), .text = std::move(text)});
  });
  return complaints;
}

std::vector<Complaint> verify_sizes(const Plan& plan, const std::map<std::string, int64_t>& symbols) {
  return Sizes(plan, symbols).check();
}

}  // namespace tenfold::plan
