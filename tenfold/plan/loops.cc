#include "tenfold/plan/loops.h"

#include <algorithm>
#include <cctype>
#include <map>
#include <ranges>
#include <set>

#include <fmt/ranges.h>

namespace tenfold::plan {
namespace {

template <class... Args>
[[noreturn]] void illegal(fmt::format_string<Args...> format, Args&&... args) {
  throw Barrier{fmt::format(format, std::forward<Args>(args)...)};
}

std::set<AtomId> atoms_of(const Forms& forms) {
  std::set<AtomId> out;
  for (const Form& f : forms)
    for (const Term& t : f.terms) out.insert(t.atom);
  return out;
}

bool is_letter(char c) { return std::isalpha(static_cast<unsigned char>(c)) != 0; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

std::vector<std::string_view> parts_of(std::string_view text, char separator) {
  std::vector<std::string_view> out;
  for (size_t from = 0; from <= text.size();) {
    const size_t to = std::min(text.find(separator, from), text.size());
    out.push_back(text.substr(from, to - from));
    from = to + 1;
  }
  return out;
}

std::vector<std::string_view> words_of(std::string_view text) {
  std::vector<std::string_view> out = parts_of(text, ' ');
  std::erase(out, "");
  return out;
}

std::string capital(std::string letter) {
  letter[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(letter[0])));
  return letter;
}

// "1, 2 or 4 do": the sizes of blocks that an axis of n has.
std::string divisors(int64_t n) {
  constexpr size_t kShown = 12;
  std::vector<int64_t> found;
  for (int64_t q = 1; q < n && found.size() <= kShown; ++q)
    if (n % q == 0) found.push_back(q);
  if (found.empty()) return "it has none";
  if (found.size() == 1) return fmt::format("{} does", found[0]);
  const bool more = found.size() > kShown;
  const int64_t last = found.back();
  found.pop_back();
  return fmt::format("{}{} do", fmt::join(found, ", "), more ? ", ..." : fmt::format(" or {}", last));
}

}  // namespace

LoopText::LoopText(const Flat& flat, const Instances& all, const Axes& limits)
    : flat_(flat), all_(all), limits_(limits) {
  std::set<AtomId> reduced, left;
  for (const Inst& i : all.insts) reduced.merge(atoms_of(i.reduced));
  for (const auto* list : {&limits.parallel, &limits.sequential, &limits.time})
    left.insert(list->begin(), list->end());
  const auto in = [](const std::vector<AtomId>& list, AtomId a) {
    return std::ranges::find(list, a) != list.end();
  };
  const auto add = [&](AtomId a) {
    if (left.erase(a) == 0) return;
    axes_.push_back({a, "",
                     in(limits.time, a)       ? "steps"
                     : in(limits.parallel, a) ? ""
                     : reduced.contains(a)    ? "reduced"
                                              : "sequential"});
  };
  for (const std::vector<int>* list :
       {&all.stores, &all.loads})  // the axes of results have the first letters
    for (const int i : *list)
      for (const Form& f : all.insts[static_cast<size_t>(i)].dims)
        for (const Term& t : f.terms) add(t.atom);
  while (!left.empty()) add(*left.begin());
  std::set<std::string> taken;
  for (Axis& axis : axes_) {
    const std::string& hint = all.space.hint(axis.atom);
    if (hint.empty() || !is_letter(hint[0])) continue;
    const std::string letter(1, static_cast<char>(std::tolower(static_cast<unsigned char>(hint[0]))));
    if (taken.insert(letter).second) axis.letter = letter;
  }
  std::string next = "i";
  for (Axis& axis : axes_) {
    if (!axis.letter.empty()) continue;
    while (!taken.insert(next).second) {  // after z comes a, after all of them i'
      next[0] = next[0] == 'z' ? 'a' : static_cast<char>(next[0] + 1);
      if (next[0] == 'i') next += '\'';
    }
    axis.letter = next;
  }
}

std::string LoopText::axes() const {
  std::string out;
  for (size_t k = 0; k < axes_.size(); ++k)
    out += fmt::format("{}{} {}{}{}", k ? ", " : "", axes_[k].letter, extent(k).str(),
                       axes_[k].kind.empty() ? "" : " ", axes_[k].kind);
  return out;
}

std::string LoopText::place(int op, bool out) const {
  const auto found = std::ranges::find_if(all_.insts, [&](const Inst& i) {
    return i.op == op && i.kind == (out ? Inst::Kind::store : Inst::Kind::load);
  });
  if (found == all_.insts.end()) return "";
  std::vector<std::string> dims;
  for (const Form& f : found->dims) {
    std::string text;
    for (const Term& t : f.terms) {
      const auto axis = std::ranges::find(axes_, t.atom, &Axis::atom);
      text += text.empty() ? "" : "+";
      text += t.coef == Dim(1) ? axis->letter : fmt::format("{}*{}", t.coef.str(), axis->letter);
    }
    if (text.empty() || f.offset != Dim(0)) text += (text.empty() ? "" : "+") + f.offset.str();
    for (size_t at; (at = text.find("+-")) != std::string::npos;) text.erase(at, 1);
    for (size_t at; (at = text.find("-1*")) != std::string::npos;) text.erase(at + 1, 2);
    dims.push_back(f.whole ? ":" : text);
  }
  return fmt::format("[{}]", fmt::join(dims, ","));
}

std::string LoopText::letters(const Instances& split, const Forms& dims) const {
  std::string out;
  for (const Form& f : dims)
    for (const Term& t : f.terms)
      for (const Axis& axis : axes_)
        if (has(split.space.resolve(Form::of(axis.atom)), t.atom) &&
            out.find(axis.letter) == std::string::npos)
          out += axis.letter;
  return out;
}

std::string LoopText::print(const Instances& split, const Choice& choice) const {
  struct Part {
    const Axis* axis;
    std::string size;  // that one turn of its loop takes; none: that of the tile
  };
  std::map<AtomId, Part> parts;
  for (const Axis& axis : axes_) {
    const Form whole = split.space.resolve(Form::of(axis.atom));
    for (const Term& t : whole.terms)
      parts[t.atom] = {&axis, t.atom == whole.terms.back().atom ? "" : t.coef.str()};
  }
  std::vector<std::string> loops, tile, words;
  const auto add = [&](AtomId a) {
    if (!choice.atoms[static_cast<size_t>(a)].loop) return;
    const auto& [axis, size] = parts.at(a);
    const std::string letter =
        choice.atoms[static_cast<size_t>(a)].grid ? capital(axis->letter) : axis->letter;
    loops.push_back(letter + size);
  };
  for (const AtomId a : grid_order(split, choice)) add(a);
  for (const AtomId a : choice.order) add(a);
  for (const Axis& axis : axes_)
    for (const Term& t : split.space.resolve(Form::of(axis.atom)).terms) {
      const Tiling& tiling = choice.atoms[static_cast<size_t>(t.atom)];
      if (t.atom != choice.vector && (tiling.inner > 1 || !tiling.loop))
        tile.push_back(fmt::format("{}{}", axis.letter, tiling.inner));
    }
  if (choice.vector >= 0)
    tile.push_back(fmt::format("{}{}", parts.at(choice.vector).axis->letter,
                               choice.atoms[static_cast<size_t>(choice.vector)].inner));
  std::vector<std::string> packed;
  for (const int i : choice.packed) {
    const std::string operand = letters(split, split.insts[static_cast<size_t>(i)].dims);
    if (std::ranges::find(packed, operand) == packed.end()) packed.push_back(operand);
  }
  if (axes_.empty()) return "";
  std::string out = fmt::format("{}{}|", fmt::join(loops, " "), loops.empty() ? "" : " ");
  for (const std::string& t : tile) out += " " + t;
  if (!packed.empty()) out += fmt::format(", packed {}", fmt::join(packed, " "));
  if (!choice.keep) out += ", again";
  if (choice.online) out += ", online";
  if (choice.group >= 0) out += ", grouped " + parts.at(choice.group).axis->letter;
  return out;
}

// Letters and numbers, with or without spaces between them.
std::vector<LoopText::Level> LoopText::levels(std::string_view text) const {
  std::vector<Level> out;
  while (!text.empty()) {
    if (text[0] == ' ') {
      text.remove_prefix(1);
      continue;
    }
    if (!is_letter(text[0])) illegal("'{}' is no axis", text[0]);
    size_t end = 1;
    while (end < text.size() && text[end] == '\'') ++end;
    std::string letter(text.substr(0, end));
    letter[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(letter[0])));
    const auto axis = std::ranges::find(axes_, letter, &Axis::letter);
    if (axis == axes_.end()) illegal("there is no axis {}", letter);
    Level level{static_cast<size_t>(axis - axes_.begin()), 0, letter[0] != text[0]};
    text.remove_prefix(end);
    if (!text.empty() && is_digit(text[0])) {
      constexpr int64_t kMost = int64_t{1} << 40;
      for (; !text.empty() && is_digit(text[0]); text.remove_prefix(1))
        level.size = std::min(kMost, level.size * 10 + (text[0] - '0'));
      if (level.size == 0) illegal("{}0 takes no elements", letter);
    }
    out.push_back(level);
  }
  return out;
}

void LoopText::check_loops(const std::vector<Level>& loops) const {
  bool sequential = false;
  std::vector<AtomId> order;
  std::vector<int64_t> rest(axes_.size(), 0);  // elements that the loops so far take at once; 0: all
  std::vector<char> done(axes_.size(), false);
  for (const Level& l : loops) {
    const auto& [atom, letter, kind] = axes_[l.axis];
    const std::string shown = l.parallel ? capital(letter) : letter;
    if (l.parallel && !kind.empty())
      illegal("the loop over {} cannot be parallel, for {}: write {} after all capitals", letter,
              kind == "reduced" ? letter + " is reduced"
              : kind == "steps" ? "its steps follow each other"
                                : "not every result has " + letter + " in blocks",
              letter);
    if (l.parallel && sequential)
      illegal("parallel loops stand outside of all others: write {} before them", shown);
    sequential |= !l.parallel;
    if (!l.parallel) order.push_back(atom);
    if (done[l.axis])
      illegal("{} comes again after {} without a number: write how many of its elements an outer loop takes",
              shown, letter);
    done[l.axis] = l.size == 0;
    if (l.size == 0) continue;
    if (!extent(l.axis).is_const())
      illegal("{} is {}, which is not known yet: no blocks of {}", letter, extent(l.axis).str(), l.size);
    if (!limits_.time.empty())
      illegal("{}{}: around the steps of a loop no axis has blocks; write {}", shown, l.size, shown);
    const int64_t whole = rest[l.axis] ? rest[l.axis] : extent(l.axis).value();
    if (l.size >= whole || whole % l.size != 0)
      illegal("{}{}: blocks of {} {} {} elements of {}; {}", shown, l.size, l.size,
              l.size < whole ? "do not divide" : "are not smaller than the", whole, letter, divisors(whole));
    rest[l.axis] = l.size;
  }
  for (size_t k = 0; k < limits_.time.size(); ++k)
    if (k >= order.size() || order[k] != limits_.time[k]) {
      std::string steps;
      for (const AtomId a : limits_.time) steps += " " + std::ranges::find(axes_, a, &Axis::atom)->letter;
      illegal("the loops over steps come first after the capitals: write{}", steps);
    }
}

void LoopText::check_tile(const std::vector<Level>& loops, const std::vector<Level>& tile) const {
  if (tile.empty() && limits_.vector >= 0)
    illegal("no axis lies along the vectors: name one last, after the bar");
  std::vector<int64_t> wanted(axes_.size(), 0);
  for (const Level& t : tile) {
    const auto& [atom, letter, kind] = axes_[t.axis];
    if (t.parallel)
      illegal("{} stands in the tile, where nothing is parallel: write {}", capital(letter), letter);
    if (t.size == 0)
      illegal("{} has no number in the tile: write how many of its elements are in registers", letter);
    if (wanted[t.axis]) illegal("{} stands in the tile twice", letter);
    if (kind == "steps") illegal("{} stands in the tile, but its steps follow each other", letter);
    wanted[t.axis] = t.size;
  }
  for (size_t k = 0; k < axes_.size(); ++k) {
    bool looped = false;
    Dim rest = extent(k);
    for (const Level& l : loops)
      if (l.axis == k) l.size ? rest = l.size : looped = true;
    const std::string& letter = axes_[k].letter;
    const int64_t size = std::max<int64_t>(1, wanted[k]);
    if (looped || rest == Dim(size)) continue;  // what a loop's last tile has too much is guarded
    if (rest.is_const() && size > rest.value())
      illegal(
          "{0}{1} in the tile is more than the {2} elements that there are: write {0}{2}, or {0} as a loop "
          "too",
          letter, size, rest.str());
    illegal(
        "{} of the {} elements of {}{} are in the tile, and no loop goes over the others: write {} as the "
        "last "
        "loop over it{}",
        size, rest.str(), letter, rest == extent(k) ? "" : " in a block", letter,
        rest.is_const() ? fmt::format(", or {}{} in the tile", letter, rest.str()) : "");
  }
}

void LoopText::add_word(std::string_view text, Packing& p, const std::vector<AtomId>& innermost,
                        const tile::Machine& machine) const {
  const std::vector<std::string_view> words = words_of(text);
  if (words.size() == 1 && words[0] == "again") {
    p.choice.keep = false;
    return;
  }
  if (words.size() == 1 && words[0] == "online") {
    p.choice.online = true;
    return;
  }
  if (words.size() == 2 && words[0] == "grouped") {
    const auto axis = std::ranges::find(axes_, words[1], &Axis::letter);
    if (axis == axes_.end()) illegal("grouped {}: there is no such axis", words[1]);
    const AtomId within = innermost[static_cast<size_t>(axis - axes_.begin())];
    const int64_t group = group_along(flat_, p.all, within, machine);
    if (group == 1)
      illegal(
          "grouped {}: no product of u8 with i8 is summed in i32 along it, none of bf16 in f32, or no "
          "instruction of this machine does",
          words[1]);
    if (p.all.space.extent(within) != Dim(group) || p.choice.atoms[static_cast<size_t>(within)].loop)
      illegal("grouped {0}: write {0}{1} as a loop and {0}{1} in the tile", words[1], group);
    p.choice.group = within;
    return;
  }
  if (words.size() < 2 || words[0] != "packed")
    illegal("'{}' is none of: packed AXES, again, online, grouped AXIS", fmt::join(words, " "));
  std::map<std::string, std::vector<int>, std::less<>> operands;
  for (const InnerProduct& x : inner_products(flat_, p.all))
    for (const int i : x.operands) {
      const Inst& operand = p.all.insts[static_cast<size_t>(i)];
      if (operand.kind != Inst::Kind::load && operand.kind != Inst::Kind::compute) continue;
      operands[letters(p.all, operand.dims)].push_back(i);
    }
  for (size_t w = 1; w < words.size(); ++w) {
    const auto found = operands.find(words[w]);
    if (found == operands.end())
      illegal("packed {}: no operand of an inner product has these axes in this order{}{}", words[w],
              operands.empty() ? "" : "; write packed ", fmt::join(std::views::keys(operands), " or "));
    p.choice.packed.insert(found->second.begin(), found->second.end());
  }
}

Packing LoopText::parse(std::string_view text, const tile::Machine& machine) const {
  const std::vector<std::string_view> clauses = parts_of(text, ',');
  const std::vector<std::string_view> halves = parts_of(clauses[0], '|');
  if (halves.size() != 2) illegal("one bar is needed, but {} came: write LOOPS | TILE", halves.size() - 1);
  const std::vector<Level> loops = levels(halves[0]), tile = levels(halves[1]);
  check_loops(loops);
  check_tile(loops, tile);

  Packing p{all_, {}};
  Choice& c = p.choice;
  std::vector<AtomId> innermost;  // by axis: what is left of it
  for (const Axis& axis : axes_) innermost.push_back(axis.atom);
  std::vector<AtomId> sized;  // by loop: its atom
  for (const Level& l : loops) {
    sized.push_back(-1);
    if (l.size == 0) continue;
    const Split s = split(p.all, innermost[l.axis], l.size);
    sized.back() = s.blocks;
    innermost[l.axis] = s.within;
  }
  c.atoms.resize(p.all.space.size());
  for (const Level& t : tile) {
    c.vector = innermost[t.axis];
    c.atoms[static_cast<size_t>(c.vector)].inner = t.size;
  }
  for (size_t k = 0; k < loops.size(); ++k) {
    const Level& l = loops[k];
    const AtomId a = l.size ? sized[k] : innermost[l.axis];
    c.atoms[static_cast<size_t>(a)].loop = true;
    c.atoms[static_cast<size_t>(a)].grid = l.parallel;
    if (!l.parallel && l.size && c.order.empty() && axes_[l.axis].kind == "reduced") c.around = a;
    (l.parallel ? c.grid : c.order).push_back(a);
  }
  for (size_t k = 1; k < clauses.size(); ++k) add_word(clauses[k], p, innermost, machine);
  return p;
}

}  // namespace tenfold::plan
