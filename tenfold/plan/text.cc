// Plans as text. The printer and the parser stand in one file and follow the same order, so that they stay
// inverse.
#include "tenfold/plan/text.h"

#include <algorithm>
#include <charconv>
#include <set>
#include <unordered_map>

#include "tenfold/base/error.h"
#include "tenfold/base/text.h"
#include "tenfold/plan/verify.h"

namespace tenfold::plan {
namespace {

constexpr int kDeepest = 64;  // loops in loops; deeper text is no plan

// What is predicted of a launch, in the order in which it is printed.
struct CostWord {
  std::string_view word;
  double Cost::* field;
};
constexpr CostWord kCostWords[] = {{"seconds", &Cost::seconds},       {"read", &Cost::bytes_read},
                                   {"written", &Cost::bytes_written}, {"operations", &Cost::flops},
                                   {"memory", &Cost::memory_seconds}, {"arithmetic", &Cost::compute_seconds}};

// Names as words that the lexer reads, each one once.
class Names {
 public:
  explicit Names(std::set<std::string> taken = {}) : taken_(std::move(taken)) {}

  std::string make(std::string_view wish, std::string_view otherwise) {
    const std::string word(is_word(wish) ? wish : otherwise);
    std::string name = word;
    for (int k = 2; !taken_.insert(name).second; ++k) name = fmt::format("{}_{}", word, k);
    return name;
  }

 private:
  static bool is_word(std::string_view text) {
    const auto is_letter = [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
    };
    return !text.empty() && is_letter(text[0]) && text != "inf" && text != "nan" &&
           std::ranges::all_of(text,
                               [&](char c) { return is_letter(c) || (c >= '0' && c <= '9') || c == '.'; });
  }

  std::set<std::string> taken_;
};

class Printer {
 public:
  explicit Printer(const Plan& plan) : plan_(plan) {}

  std::string print() {
    text_ = fmt::format("tenfold {}\n", kTextVersion);
    symbols_ = symbols_of(plan_);
    for (const auto& [key, s] : symbols_)
      text_ += fmt::format("symbol {} in {}..{} hint {}\n", s.name, s.lower, s.upper, s.hint);
    line(fmt::format("plan seconds {} {{", float_text(plan_.seconds)));
    ++depth_;
    Names names;
    for (const Buffer& b : plan_.buffers) {
      buffers_.push_back(names.make(b.name, "buffer"));
      const std::string kind = b.kind == Buffer::Kind::input    ? fmt::format("input {}", b.index)
                               : b.kind == Buffer::Kind::output ? fmt::format("output {}", b.index)
                               : b.kind == Buffer::Kind::laid   ? text_of(b)
                                                                : "temporary";
      line(fmt::format("buffer {}: {} {}", buffers_.back(), b.type.str(), kind));
    }
    print(plan_.steps);
    for (const std::string& note : plan_.notes) line("note " + quote(note));
    --depth_;
    line("}");
    for (const tile::Kernel* kernel : order_) text_ += "\n" + kernel_text(*kernel);
    return std::move(text_);
  }

 private:
  // laid 1 of [1024,1024] at [d1, 64*d0 + d2]
  static std::string text_of(const Buffer& b) {
    std::string places;
    for (const Form& f : b.layout.at) {
      std::string place;
      for (const Term& t : f.terms)
        place += fmt::format("{}{}d{}", place.empty() ? "" : " + ",
                             t.coef == Dim(1) ? "" : fmt::format("{}*", t.coef.value()), t.atom);
      places += fmt::format("{}{}", places.empty() ? "" : ", ", place.empty() ? "0" : place);
    }
    return fmt::format("laid {} of {} at [{}]", b.index, str(b.layout.from), places);
  }

  void line(std::string_view text) { text_.append(2 * depth_, ' ').append(text).append("\n"); }

  void print(const std::vector<Step>& steps) {
    for (const Step& step : steps) {
      if (const auto* launch = std::get_if<Launch>(&step.what))
        print(*launch);
      else if (const auto* copy = std::get_if<Copy>(&step.what))
        print(*copy);
      else
        print(*std::get<std::shared_ptr<Repeat>>(step.what));
    }
  }

  void print(const Launch& launch) {
    std::vector<std::string_view> passed;
    for (const int b : launch.buffers) passed.push_back(buffers_[b]);
    std::string text = fmt::format("launch {}({})", name_of(*launch.kernel), fmt::join(passed, ", "));
    if (launch.cost.serial) text += " serial";
    for (const auto& [word, field] : kCostWords)
      text += fmt::format(" {} {}", word, float_text(launch.cost.*field));
    if (!launch.operations.empty()) text += " computes " + quote(launch.operations);
    if (!launch.loops.empty()) text += " loops " + quote(launch.loops);
    if (!launch.axes.empty()) text += " axes " + quote(launch.axes);
    line(text);
  }

  void print(const Copy& copy) {
    std::string starts;
    for (const Copy::Start& start : copy.starts)
      starts.append(starts.empty() ? " at [" : ", ")
          .append(start.buffer >= 0 ? buffers_[start.buffer] : std::to_string(start.value));
    line(fmt::format("copy {} -> {}{}{}", buffers_[copy.from], buffers_[copy.to], starts,
                     starts.empty() ? "" : "]"));
  }

  void print(const Repeat& repeat) {
    const bool is_while = repeat.go >= 0;
    line(fmt::format("{}{}{} {{", is_while ? "while" : "repeat " + repeat.length.str(),
                     repeat.reverse ? " reverse" : "",
                     repeat.step >= 0 ? " step " + buffers_[repeat.step] : ""));
    ++depth_;
    for (const auto& c : repeat.carries)
      line(fmt::format("carry {} = {} next {}", buffers_[c.value], buffers_[c.init], buffers_[c.next]));
    for (const auto& s : repeat.reads)
      line(fmt::format("read {} of {}", buffers_[s.part], buffers_[s.whole]));
    for (const auto& s : repeat.writes)
      line(fmt::format("write {} of {}", buffers_[s.part], buffers_[s.whole]));
    print(repeat.condition);
    if (is_while) line("test " + buffers_[repeat.go]);
    print(repeat.body);
    --depth_;
    line("}");
  }

  const std::string& name_of(const tile::Kernel& kernel) {
    const auto [found, is_new] = kernels_.try_emplace(&kernel);
    if (is_new) {
      found->second = kernel_names_.make(kernel.name, "kernel_");
      order_.push_back(&kernel);
    }
    return found->second;
  }

  // An argument may be named by the user, an atom as a symbol is.
  std::string kernel_text(const tile::Kernel& kernel) {
    tile::Kernel named = tile::clone(kernel);
    named.name = kernels_.at(&kernel);
    Names args({"out", "streaming"}), atoms(symbol_names());
    for (tile::Arg& arg : named.args) arg.name = args.make(arg.name, "buffer");
    for (tile::Atom& atom : named.atoms) atom.name = atoms.make(atom.name, "axis");
    return tile::print_headless(named);
  }

  std::set<std::string> symbol_names() const {
    std::set<std::string> names;
    for (const auto& [name, symbol] : symbols_) names.insert(name);
    return names;
  }

  const Plan& plan_;
  std::string text_;
  size_t depth_ = 0;
  std::map<std::string, Symbol> symbols_;
  std::vector<std::string> buffers_;
  Names kernel_names_;
  std::unordered_map<const tile::Kernel*, std::string> kernels_;
  std::vector<const tile::Kernel*> order_;  // as they are launched first
};

class Parser {
  // What a dimension or a symbol says is wrong, told with its place.
  template <class Do>
  auto at(const Token& token, const Do& act) {
    try {
      return act();
    } catch (const UserError& error) {
      if (std::string_view(error.what()).starts_with(file_ + ":")) throw;
      lexer_.fail(token, error.what());
    }
  }

 public:
  Parser(std::string_view text, const std::string& file) : file_(file), lexer_(text, file) {}

  Plan parse() {
    lexer_.expect("tenfold");
    lexer_.version();
    while (lexer_.accept("symbol")) parse_symbol();
    const Token start = lexer_.peek();
    lexer_.expect("plan");
    if (lexer_.accept("seconds")) plan_.seconds = cost("the plan's seconds");
    lexer_.expect("{");
    while (lexer_.accept("buffer")) parse_buffer();
    plan_.steps = steps();
    while (lexer_.accept("note")) plan_.notes.push_back(lexer_.string("a sentence"));
    lexer_.expect("}");
    while (lexer_.peek().text == "kernel" && lexer_.peek().kind == TokenKind::identifier) parse_kernel();
    const TokenKind kind = lexer_.peek().kind;
    if (kind != TokenKind::end && kind != TokenKind::section)
      lexer_.fail("expected a kernel or the end of the text");
    size_t launched = 0;
    resolve(plan_.steps, launched);
    const std::vector<Complaint> complaints = at(start, [&] { return verify(plan_); });
    for (const Complaint& c : complaints)
      lexer_.fail(c.kernel        ? kernels_.at(c.kernel->name).second
                  : c.step >= 0   ? step_places_[c.step]
                  : c.buffer >= 0 ? buffer_places_[c.buffer]
                                  : start,
                  c.text);
    return std::move(plan_);
  }

 private:
  void parse_symbol() {
    const Token token = lexer_.peek();
    const Symbol symbol = lexer_.symbol();
    const Dim dim = at(token, [&] { return Dim::symbol(symbol); });
    lexer_.declare(dim);
    symbols_.emplace(symbol.name, dim);
  }

  Dim dim() {
    const Token token = lexer_.peek();
    return at(token, [&] { return lexer_.dim(); });
  }

  double cost(std::string_view what) {
    const Token token = lexer_.peek();
    const double value = lexer_.number(what);
    constexpr double kMost = 1e17;  // whatever it counts
    if (!(value >= 0 && value <= kMost))
      lexer_.fail(token, fmt::format("{} must be from 0 to {}", what, kMost));
    return value;
  }

  void parse_buffer() {
    Buffer made;
    const Token token = lexer_.peek();
    made.name = lexer_.identifier("a buffer's name");
    lexer_.expect(":");
    const Token type = lexer_.peek();
    const auto dtype = parse_dtype(lexer_.identifier("a dtype"));
    if (!dtype) lexer_.fail(type, fmt::format("there is no dtype named '{}'", type.text));
    made.type.dtype = *dtype;
    lexer_.expect("[");
    lexer_.list("]", [&] { made.type.shape.push_back(dim()); });
    const auto kind = [&](std::string_view word, Buffer::Kind which) {
      if (!lexer_.accept(word)) return false;
      made.kind = which;
      const Token number = lexer_.peek();
      constexpr int64_t kMost = 1 << 20;
      const int64_t index = lexer_.integer(fmt::format("which {}", word));
      if (index < 0 || index > kMost) lexer_.fail(number, fmt::format("there is no {} {}", word, index));
      made.index = static_cast<int>(index);
      return true;
    };
    if (kind("laid", Buffer::Kind::laid))
      made.layout = layout();
    else if (!kind("input", Buffer::Kind::input) && !kind("output", Buffer::Kind::output) &&
             !lexer_.accept("temporary"))
      lexer_.fail("expected 'input', 'output', 'laid' or 'temporary'");
    if (!buffers_.emplace(made.name, static_cast<int>(plan_.buffers.size())).second)
      lexer_.fail(token, fmt::format("two buffers are named '{}'", made.name));
    buffer_places_.push_back(token);
    plan_.buffers.push_back(std::move(made));
  }

  Layout layout() {
    Layout made;
    lexer_.expect("of");
    lexer_.expect("[");
    lexer_.list("]", [&] { made.from.push_back(dim()); });
    lexer_.expect("at");
    lexer_.expect("[");
    lexer_.list("]", [&] { made.at.push_back(place()); });
    return made;
  }

  Form place() {  // 64*d0 + d2, or 0
    Form form = Form::point();
    do {
      int64_t coef = 1;
      if (lexer_.peek().kind != TokenKind::identifier) {
        coef = lexer_.integer("a number or an axis");
        if (coef == 0) return form;
        lexer_.expect("*");
      }
      const Token token = lexer_.peek();
      const std::string axis = lexer_.identifier("an axis");
      AtomId number = 0;
      const auto [end, error] = std::from_chars(axis.data() + 1, axis.data() + axis.size(), number);
      if (axis[0] != 'd' || error != std::errc() || end != axis.data() + axis.size())
        lexer_.fail(token, fmt::format("expected d0, d1, ..., not '{}'", axis));
      form.terms.push_back({number, coef});
    } while (lexer_.accept("+"));
    return form;
  }

  int buffer() {
    const Token token = lexer_.peek();
    const auto found = buffers_.find(lexer_.identifier("a buffer's name"));
    if (found == buffers_.end()) lexer_.fail(token, fmt::format("there is no buffer named '{}'", token.text));
    return found->second;
  }

  std::vector<Step> steps() {  // up to what is no step
    std::vector<Step> made;
    while (true) {
      const Token token = lexer_.peek();
      if (lexer_.accept("launch")) {
        step_places_.push_back(token);
        made.emplace_back().what = parse_launch();
      } else if (lexer_.accept("copy")) {
        step_places_.push_back(token);
        made.emplace_back().what = parse_copy();
      } else if (lexer_.accept("repeat") || lexer_.accept("while")) {
        step_places_.push_back(token);
        made.emplace_back().what = parse_repeat(token);
      } else {
        return made;
      }
    }
  }

  Launch parse_launch() {
    Launch launch;
    launched_.push_back(lexer_.peek());
    lexer_.identifier("a kernel's name");
    lexer_.expect("(");
    lexer_.list(")", [&] { launch.buffers.push_back(buffer()); });
    launch.cost.serial = lexer_.accept("serial");
    for (const auto& [word, field] : kCostWords)
      if (lexer_.accept(word)) launch.cost.*field = cost(fmt::format("'{}'", word));
    if (lexer_.accept("computes")) launch.operations = lexer_.string("what it computes");
    if (lexer_.accept("loops")) launch.loops = lexer_.string("the loops");
    if (lexer_.accept("axes")) launch.axes = lexer_.string("the axes");
    return launch;
  }

  Copy parse_copy() {
    Copy copy;
    copy.from = buffer();
    lexer_.expect("->");
    copy.to = buffer();
    if (!lexer_.accept("at")) return copy;
    const Token token = lexer_.peek();
    lexer_.expect("[");
    lexer_.list("]", [&] {
      if (lexer_.peek().kind == TokenKind::identifier)
        copy.starts.push_back({.buffer = buffer(), .value = 0});
      else
        copy.starts.push_back({.buffer = -1, .value = lexer_.integer("a buffer or a number")});
    });
    if (copy.starts.empty()) lexer_.fail(token, "a box starts somewhere");
    return copy;
  }

  std::shared_ptr<Repeat> parse_repeat(const Token& token) {
    if (++depth_ > kDeepest)
      lexer_.fail(token, fmt::format("loops stand more than {} deep in each other", kDeepest));
    auto repeat = std::make_shared<Repeat>();
    const bool is_while = token.text == "while";
    repeat->length = is_while ? Dim(-1) : dim();
    repeat->reverse = lexer_.accept("reverse");
    if (lexer_.accept("step")) repeat->step = buffer();
    lexer_.expect("{");
    while (lexer_.accept("carry")) {
      Repeat::Carry carry{};
      carry.value = buffer();
      lexer_.expect("=");
      carry.init = buffer();
      lexer_.expect("next");
      carry.next = buffer();
      repeat->carries.push_back(carry);
    }
    while (lexer_.accept("read")) repeat->reads.push_back(slice());
    while (lexer_.accept("write")) repeat->writes.push_back(slice());
    if (is_while) {
      repeat->condition = steps();
      lexer_.expect("test");
      repeat->go = buffer();
    }
    repeat->body = steps();
    lexer_.expect("}");
    --depth_;
    return repeat;
  }

  Repeat::Slice slice() {
    Repeat::Slice slice{};
    slice.part = buffer();
    lexer_.expect("of");
    slice.whole = buffer();
    return slice;
  }

  void parse_kernel() {
    const Token token = lexer_.peek();
    auto kernel =
        at(token, [&] { return std::make_shared<const tile::Kernel>(tile::parse_kernel(lexer_, symbols_)); });
    const std::string name = kernel->name;
    if (!kernels_.try_emplace(name, std::move(kernel), token).second)
      lexer_.fail(token, fmt::format("two kernels are named '{}'", name));
  }

  // Kernels stand after the steps that launch them.
  void resolve(std::vector<Step>& steps, size_t& launched) {
    for (Step& step : steps) {
      if (auto* launch = std::get_if<Launch>(&step.what)) {
        const Token& token = launched_[launched++];
        const auto found = kernels_.find(token.text);
        if (found == kernels_.end())
          lexer_.fail(token, fmt::format("there is no kernel named '{}'", token.text));
        launch->kernel = found->second.first;
      } else if (auto* repeat = std::get_if<std::shared_ptr<Repeat>>(&step.what)) {
        resolve((*repeat)->condition, launched);
        resolve((*repeat)->body, launched);
      }
    }
  }

  std::string file_;
  Lexer lexer_;
  Plan plan_;
  std::map<std::string, Dim> symbols_;
  std::unordered_map<std::string, int> buffers_;
  std::unordered_map<std::string, std::pair<std::shared_ptr<const tile::Kernel>, Token>> kernels_;
  std::vector<Token> launched_;                     // the kernels' names, in the order of the launches
  std::vector<Token> step_places_, buffer_places_;  // for complaints
  int depth_ = 0;
};

}  // namespace

std::string print(const Plan& plan) { return Printer(plan).print(); }

Plan parse_plan(std::string_view text, std::string file) { return Parser(text, file).parse(); }

}  // namespace tenfold::plan
