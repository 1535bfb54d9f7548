// Kernels as text. The printer and the parser stand in one file and follow the same order, so that they stay
// inverse.
#include "tenfold/base/text.h"

#include <charconv>
#include <unordered_map>

#include "tenfold/tile/program.h"

namespace tenfold::tile {
namespace {

constexpr int kDeepest = 64;  // loops in loops; deeper text is not a program

constexpr std::string_view kNames[] = {"load", "store",      "fill",   "copy",     "constant", "index",
                                       "map",  "accumulate", "reduce", "contract", "read",     "write"};

std::optional<Op> find_op(std::string_view text) {
  for (size_t i = 0; i < std::size(kNames); ++i)
    if (kNames[i] == text) return static_cast<Op>(i);
  return {};
}

Scalar of_kind(const Scalar& scalar, Dtype dtype) {  // of the dtype's kind, not of its precision
  if (is_bool(dtype)) return scalar.b();
  if (is_signed_int(dtype)) return scalar.i();
  if (is_unsigned_int(dtype)) return scalar.u();
  if (is_complex(dtype)) return scalar.c();
  return scalar.f();
}

struct Printer {
  const Kernel& kernel;
  std::string out;
  int depth = 0;

  const std::string& atom(AtomId id) const { return kernel.atoms.at(id).name; }

  std::string value(ValueId id) const {
    return id >= 0 && id < static_cast<ValueId>(kernel.values.size()) ? kernel.values[id].name : "%?";
  }

  std::string form(const Form& form) const {
    if (form.whole) return "*";
    std::string text;
    const auto sign = [&](bool negative) {
      text += text.empty() ? (negative ? "-" : "") : (negative ? " - " : " + ");
    };
    for (const Term& term : form.terms) {
      if (!term.coef.is_const()) {
        sign(false);
        const std::string coef = term.coef.str();
        text += coef.find_first_of(" *-(") == std::string::npos ? coef : "(" + coef + ")";
        text += "*";
      } else {
        const int64_t coef = term.coef.value();
        sign(coef < 0);
        const uint64_t magnitude = coef < 0 ? -static_cast<uint64_t>(coef) : coef;
        if (magnitude != 1) text += fmt::format("{}*", magnitude);
      }
      text += atom(term.atom);
    }
    if (text.empty()) return form.offset.str();
    if (form.offset == Dim(0)) return text;
    const std::string offset = form.offset.str();
    sign(offset[0] == '-');
    return text + offset.substr(offset[0] == '-');
  }

  std::string forms(const std::vector<Form>& list) const {
    std::string text;
    for (const Form& f : list) text.append(text.empty() ? "" : ", ").append(form(f));
    return "[" + text + "]";
  }

  std::string atoms(const std::vector<AtomId>& list, std::string_view separator = ",") const {
    std::string text;
    for (const AtomId id : list) text.append(text.empty() ? "" : separator).append(atom(id));
    return text;
  }

  std::string type(ValueId id) const {
    if (id < 0 || id >= static_cast<ValueId>(kernel.values.size())) return "?";
    const Value& v = kernel.values[id];
    return fmt::format("{}[{}]", tenfold::name(v.dtype), atoms(v.axes));
  }

  std::string operand(const Operand& o) const {
    std::string text = value(o.value);
    if (o.at.empty()) return text;
    const auto& axes = kernel.values.at(o.value).axes;
    std::string places;
    for (size_t i = 0; i < o.at.size(); ++i) {
      if (i > 0) places += ", ";
      if (i < axes.size()) places.append(atom(axes[i])).append(": ");
      places += form(o.at[i]);
    }
    return text + "[" + places + "]";
  }

  std::string operands(const Stmt& stmt) const {
    std::string text;
    for (const Operand& o : stmt.operands) text.append(text.empty() ? " " : ", ").append(operand(o));
    return text;
  }

  static std::string attribute(const Attr& value) {
    struct {
      std::string operator()(int64_t v) { return std::to_string(v); }
      std::string operator()(const std::string& v) { return quote(v); }
      std::string operator()(const Ints& v) { return fmt::format("[{}]", fmt::join(v, ",")); }
      std::string operator()(const Shape& v) { return str(v); }
      std::string operator()(Dtype v) { return std::string(tenfold::name(v)); }
      std::string operator()(const Scalar& v) { return v.is_u64() ? "u64(" + v.str() + ")" : v.str(); }
      std::string operator()(const GraphRef&) { return "?"; }
    } print;
    return std::visit(print, value);
  }

  std::string indexed_arg(const Stmt& stmt) const {
    std::string text =
        stmt.arg >= 0 && stmt.arg < static_cast<int>(kernel.args.size()) ? kernel.args[stmt.arg].name : "?";
    std::string list;
    size_t next = 0;
    for (const Form& f : stmt.forms) {
      const bool gathered = stmt.op == Op::load && f.whole && next < stmt.operands.size();
      list.append(list.empty() ? "" : ", ").append(gathered ? operand(stmt.operands[next++]) : form(f));
    }
    return text + "[" + list + "]";
  }

  std::string statement(const Stmt& stmt) const {
    const std::string source = stmt.operands.empty() ? "%?" : operand(stmt.operands[0]);
    if (stmt.op == Op::store || stmt.op == Op::write) {
      const std::string place =
          stmt.op == Op::store ? indexed_arg(stmt) : value(stmt.result) + forms(stmt.forms);
      std::string text = fmt::format("{} {} = {}", name(stmt.op), place, source);
      if (has_own_axes(stmt)) text += " : [" + atoms(stmt.axes) + "]";
      return text;
    }
    std::string text = value(stmt.result) + " = " + std::string(name(stmt.op));
    switch (stmt.op) {
      case Op::fill: return fmt::format("{} {} {}", text, type(stmt.result), scalar(stmt));
      case Op::constant: text += " " + scalar(stmt); break;
      case Op::load: text += " " + indexed_arg(stmt); break;
      case Op::read: text += " " + value(stmt.source) + forms(stmt.forms); break;
      case Op::index: text += " " + (stmt.forms.empty() ? "?" : form(stmt.forms[0])); break;
      case Op::map: {
        const std::string_view prim = stmt.prim ? stmt.prim->name : "?";
        text =
            value(stmt.result) + " = " + (find_op(prim) ? "map " : "") + std::string(prim) + operands(stmt);
        for (const auto& [key, attr] : stmt.attrs) text += " " + std::string(key) + "=" + attribute(attr);
        break;
      }
      case Op::accumulate:
      case Op::reduce: text += fmt::format(" {}", stmt.prim ? stmt.prim->name : "?"); [[fallthrough]];
      default: text += operands(stmt);
    }
    if (!stmt.over.empty()) text += " over " + atoms(stmt.over, ", ");
    return text + " : " + type(stmt.result);
  }

  std::string scalar(const Stmt& stmt) const {
    return of_kind(stmt.scalar, kernel.values.at(stmt.result).dtype).str();
  }

  bool has_own_axes(const Stmt& stmt) const {
    if (stmt.operands.empty()) return true;
    const Operand& o = stmt.operands[0];
    return !o.at.empty() || o.value < 0 || kernel.values.at(o.value).axes != stmt.axes;
  }

  void line(std::string_view text) { out.append(2 * depth, ' ').append(text).append("\n"); }

  void body(const Body& items) {
    for (const Item& item : items) {
      if (const auto* stmt = std::get_if<Stmt>(&item)) {
        line(statement(*stmt));
      } else if (const auto* loop = std::get_if<std::unique_ptr<Loop>>(&item)) {
        print_loop(**loop);
      } else {
        const If& vote = *std::get<std::unique_ptr<If>>(item);
        line("if any " + operand(vote.mask) + " {");
        ++depth;
        body(vote.body);
        --depth;
        line("}");
      }
    }
  }

  void print_loop(const Loop& loop) {
    const bool is_while = loop.go.value >= 0;
    line(fmt::format("{} {}{} {{", is_while ? "while" : "for", atom(loop.atom),
                     loop.reverse ? " reverse" : ""));
    ++depth;
    if (is_while) {
      body(loop.condition);
      line("test " + operand(loop.go));
    }
    body(loop.body);
    for (const Carry& carry : loop.carries)
      line("carry " + value(carry.variable) + " <- " + operand(carry.next));
    --depth;
    line("}");
  }

  std::map<std::string, Symbol> symbols() const {
    std::map<std::string, Symbol> symbols;
    const auto add = [&](const Form& f) {
      f.offset.symbols(symbols);
      for (const Term& term : f.terms) term.coef.symbols(symbols);
    };
    const auto add_operand = [&](const Operand& o) {
      for (const Form& f : o.at) add(f);
    };
    for (const Arg& arg : kernel.args)
      for (const Dim& dim : arg.shape) dim.symbols(symbols);
    for (const Atom& a : kernel.atoms) a.extent.symbols(symbols);
    for (const Guard& guard : kernel.guards) {
      add(guard.form);
      guard.limit.symbols(symbols);
    }
    for_each_statement(kernel.body, [&](const Stmt& stmt, std::span<const Loop* const>) {
      for (const Form& f : stmt.forms) add(f);
      for (const Operand& o : stmt.operands) add_operand(o);
    });
    for_each_vote(kernel.body, add_operand);
    return symbols;
  }

  template <class F>
  static void for_each_vote(const Body& body, const F& f) {
    for (const Item& item : body) {
      if (const auto* loop = std::get_if<std::unique_ptr<Loop>>(&item)) {
        f((*loop)->go);
        for (const Carry& carry : (*loop)->carries) f(carry.next);
        for_each_vote((*loop)->condition, f);
        for_each_vote((*loop)->body, f);
      } else if (const auto* vote = std::get_if<std::unique_ptr<If>>(&item)) {
        f((*vote)->mask);
        for_each_vote((*vote)->body, f);
      }
    }
  }

  void print_head() {
    line(fmt::format("tenfold {}", kTextVersion));
    for (const auto& [key, s] : symbols())
      line(fmt::format("symbol {} in {}..{} hint {}", s.name, s.lower, s.upper, s.hint));
  }

  void print_kernel() {
    std::string args;
    for (const Arg& arg : kernel.args)
      args +=
          fmt::format("{}{}{}{}: {}{}", args.empty() ? "" : ", ", arg.output ? "out " : "",
                      arg.streaming ? "streaming " : "", arg.name, tenfold::name(arg.dtype), str(arg.shape));
    line(fmt::format("kernel {}({}) {{", kernel.name, args));
    ++depth;
    std::string list;
    for (const Atom& a : kernel.atoms)
      list += fmt::format("{}{} in {}", list.empty() ? "" : ", ", a.name, a.extent.str());
    if (!list.empty()) line("atom " + list);
    if (kernel.vector >= 0 || !kernel.vectors.empty()) {
      const std::string rest = atoms(kernel.vectors, ", ");
      line("vector " + (kernel.vector >= 0 ? atom(kernel.vector) : "-") + (rest.empty() ? "" : ", ") + rest);
    }
    for (const Guard& guard : kernel.guards) line("guard " + form(guard.form) + " < " + guard.limit.str());
    for (size_t id = 0; id < kernel.values.size(); ++id)
      if (kernel.values[id].scratch)
        line(fmt::format("scratch {}: {}", kernel.values[id].name, type(static_cast<ValueId>(id))));
    line(kernel.grid.empty() ? "grid {" : "grid " + atoms(kernel.grid, ", ") + " {");
    ++depth;
    body(kernel.body);
    --depth;
    line("}");
    --depth;
    line("}");
  }
};

struct Parser {
  Lexer lexer;
  Kernel kernel;
  std::unordered_map<std::string, Dim> symbols;
  std::unordered_map<std::string, AtomId> atoms;
  std::unordered_map<std::string, ValueId> values;
  std::unordered_map<std::string, int> args;
  int depth = 0;

  Kernel parse() {
    lexer.expect("tenfold");
    lexer.version();
    while (lexer.accept("symbol")) parse_symbol();
    Kernel parsed = parse_kernel();
    const TokenKind kind = lexer.peek().kind;
    if (kind != TokenKind::end && kind != TokenKind::section) lexer.fail("a kernel ends here");
    return parsed;
  }

  Kernel parse_kernel() {
    lexer.expect("kernel");
    kernel.name = lexer.identifier("the kernel's name");
    lexer.expect("(");
    lexer.list(")", [&] { parse_arg(); });
    lexer.expect("{");
    if (lexer.accept("atom")) do
        parse_atom();
      while (lexer.accept(","));
    if (lexer.accept("vector")) {
      if (!lexer.accept("-")) kernel.vector = atom();
      while (lexer.accept(",")) kernel.vectors.push_back(atom());
    }
    while (lexer.accept("guard")) {
      Guard guard;
      guard.form = form();
      lexer.expect("<");
      guard.limit = lexer.dim();
      kernel.guards.push_back(std::move(guard));
    }
    while (lexer.accept("scratch")) {
      const Token token = lexer.peek();
      const std::string name = lexer.identifier("a value such as %e");
      lexer.expect(":");
      const auto [dtype, axes] = type();
      define(token, name, dtype, axes, true);
    }
    lexer.expect("grid");
    if (!lexer.accept("{")) {
      do kernel.grid.push_back(atom());
      while (lexer.accept(","));
      lexer.expect("{");
    }
    kernel.body = body();
    lexer.expect("}");
    lexer.expect("}");
    return std::move(kernel);
  }

  void parse_symbol() {
    const Token token = lexer.peek();
    const Symbol symbol = lexer.symbol();
    if (symbol.lower > symbol.upper)
      lexer.fail(token, fmt::format("the symbol '{}' has no values", symbol.name));
    const Dim dim = Dim::symbol(symbol);
    lexer.declare(dim);
    symbols.emplace(symbol.name, dim);
  }

  Dtype dtype() {
    const Token token = lexer.peek();
    const auto found = parse_dtype(lexer.identifier("a dtype"));
    if (!found) lexer.fail(token, fmt::format("there is no dtype named '{}'", token.text));
    return *found;
  }

  void parse_arg() {
    Arg arg;
    arg.output = lexer.accept("out");
    arg.streaming = lexer.accept("streaming");
    const Token token = lexer.peek();
    arg.name = lexer.identifier("a buffer's name");
    lexer.expect(":");
    arg.dtype = dtype();
    lexer.expect("[");
    lexer.list("]", [&] { arg.shape.push_back(lexer.dim()); });
    if (!args.emplace(arg.name, static_cast<int>(kernel.args.size())).second)
      lexer.fail(token, fmt::format("two buffers are named '{}'", arg.name));
    kernel.args.push_back(std::move(arg));
  }

  void parse_atom() {
    const Token token = lexer.peek();
    Atom atom;
    atom.name = lexer.identifier("an atom's name");
    lexer.expect("in");
    atom.extent = lexer.dim();
    if (symbols.contains(atom.name)) lexer.fail(token, fmt::format("'{}' is a symbol already", atom.name));
    if (!atoms.emplace(atom.name, static_cast<AtomId>(kernel.atoms.size())).second)
      lexer.fail(token, fmt::format("two atoms are named '{}'", atom.name));
    kernel.atoms.push_back(std::move(atom));
  }

  AtomId atom() {
    const Token token = lexer.peek();
    const auto found = atoms.find(lexer.identifier("an atom"));
    if (found == atoms.end()) lexer.fail(token, fmt::format("there is no atom named '{}'", token.text));
    return found->second;
  }

  // form    = "*" | ["-"] product { ("+" | "-") product }
  // product = factor { "*" factor }, at most one factor an atom
  // factor  = integer | symbol | atom | "(" dim ")" | function "(" dim "," dim ")"
  Form form() {
    Form result;
    if (lexer.accept("*")) return Form::all();
    bool negative = lexer.accept("-");
    while (true) {
      Dim coef = negative ? -1 : 1;
      AtomId found = -1;
      do {
        const Token token = lexer.peek();
        const auto known = token.kind == TokenKind::identifier ? atoms.find(token.text) : atoms.end();
        if (known == atoms.end()) {
          coef *= factor();
        } else {
          if (found >= 0) lexer.fail("a form is linear: it multiplies no two atoms");
          lexer.next();
          found = known->second;
        }
      } while (lexer.accept("*"));
      if (found >= 0) {
        result.terms.push_back({found, coef});
      } else {
        result.offset += coef;
      }
      if (lexer.accept("+")) {
        negative = false;
      } else if (lexer.accept("-")) {
        negative = true;
      } else {
        return result;
      }
    }
  }

  Dim factor() {
    const Token token = lexer.peek();
    if (token.kind == TokenKind::integer) return lexer.integer("a coefficient");
    if (lexer.accept("(")) {
      const Dim inner = lexer.dim();
      lexer.expect(")");
      return inner;
    }
    const std::string word = lexer.identifier("an atom, a symbol or an integer");
    if (const auto symbol = symbols.find(word); symbol != symbols.end()) return symbol->second;
    static const std::unordered_map<std::string, Dim (*)(const Dim&, const Dim&)> kFunctions{
        {"floordiv", floordiv}, {"ceildiv", ceildiv}, {"mod", mod}, {"min", min}, {"max", max}};
    const auto function = kFunctions.find(word);
    if (function == kFunctions.end())
      lexer.fail(token, fmt::format("'{}' is neither an atom nor a symbol", word));
    lexer.expect("(");
    const Dim left = lexer.dim();
    lexer.expect(",");
    const Dim right = lexer.dim();
    lexer.expect(")");
    return function->second(left, right);
  }

  std::vector<Form> forms() {
    std::vector<Form> result;
    lexer.expect("[");
    lexer.list("]", [&] { result.push_back(form()); });
    return result;
  }

  std::vector<AtomId> axes() {
    std::vector<AtomId> result;
    lexer.expect("[");
    lexer.list("]", [&] { result.push_back(atom()); });
    return result;
  }

  std::pair<Dtype, std::vector<AtomId>> type() {
    const Dtype element = dtype();
    return {element, axes()};
  }

  ValueId define(const Token& token, const std::string& name, Dtype dtype, std::vector<AtomId> axes,
                 bool scratch) {
    if (name[0] != '%') lexer.fail(token, fmt::format("a value's name starts with %, '{}' does not", name));
    const auto id = static_cast<ValueId>(kernel.values.size());
    if (!values.emplace(name, id).second)
      lexer.fail(token, fmt::format("the value {} is defined twice", name));
    kernel.values.push_back({name, dtype, std::move(axes), scratch});
    return id;
  }

  ValueId value() {
    const Token token = lexer.peek();
    const auto found = values.find(lexer.identifier("a value such as %5"));
    if (found == values.end()) lexer.fail(token, fmt::format("the value {} is not defined", token.text));
    return found->second;
  }

  Operand operand() {
    Operand result;
    result.value = value();
    if (!lexer.accept("[")) return result;
    const Token token = lexer.peek();
    const std::vector<AtomId>& axes = kernel.values[result.value].axes;
    lexer.list("]", [&] {
      // `axis: form` or a form alone: both may start with an atom.
      const Token first = lexer.peek();
      Form at = form();
      if (lexer.accept(":")) {
        const size_t place = result.at.size();
        if (!at.is_atom() || place >= axes.size() || at.terms[0].atom != axes[place])
          lexer.fail(first, fmt::format("axis {} of {} is {}", place, kernel.values[result.value].name,
                                        place < axes.size() ? kernel.atoms[axes[place]].name : "missing"));
        at = form();
      }
      result.at.push_back(std::move(at));
    });
    if (result.at.size() != axes.size())
      lexer.fail(token, fmt::format("{} has {} axes, not {}", kernel.values[result.value].name, axes.size(),
                                    result.at.size()));
    return result;
  }

  void operands(Stmt& stmt) {
    do stmt.operands.push_back(operand());
    while (lexer.accept(","));
  }

  void indexed_arg(Stmt& stmt) {
    const Token token = lexer.peek();
    const auto found = args.find(lexer.identifier("a buffer's name"));
    if (found == args.end()) lexer.fail(token, fmt::format("there is no buffer named '{}'", token.text));
    stmt.arg = found->second;
    lexer.expect("[");
    lexer.list("]", [&] {
      const Token& next = lexer.peek();
      if (next.kind == TokenKind::identifier && next.text[0] == '%') {
        stmt.operands.push_back(operand());
        stmt.forms.push_back(Form::all());
      } else {
        stmt.forms.push_back(form());
      }
    });
  }

  Scalar scalar(Dtype dtype) {
    if (is_bool(dtype)) {
      if (lexer.accept("true")) return true;
      lexer.expect("false");
      return false;
    }
    if (is_signed_int(dtype)) return lexer.integer("a value");
    if (is_unsigned_int(dtype)) return unsigned_integer();
    if (!is_complex(dtype)) return lexer.number("a value");
    lexer.expect("complex");
    lexer.expect("(");
    const double real = lexer.number("the real part");
    lexer.expect(",");
    const double imaginary = lexer.number("the imaginary part");
    lexer.expect(")");
    return Complex(real, imaginary);
  }

  uint64_t unsigned_integer() {
    const Token token = lexer.peek();
    uint64_t result = 0;
    const char* end = token.text.data() + token.text.size();
    if (token.kind != TokenKind::integer || std::from_chars(token.text.data(), end, result).ptr != end)
      return static_cast<uint64_t>(lexer.integer("a value"));
    lexer.next();
    return result;
  }

  Scalar any_scalar() {  // as an attribute prints it: the token tells the kind
    const Token token = lexer.peek();
    if (token.text == "true" || token.text == "false") return scalar(Dtype::boolean);
    if (token.text == "complex") return scalar(Dtype::complex128);
    if (lexer.accept("u64")) {
      lexer.expect("(");
      const uint64_t result = unsigned_integer();
      lexer.expect(")");
      return result;
    }
    const bool negative = lexer.accept("-");
    if (lexer.peek().kind == TokenKind::integer) {
      const uint64_t magnitude = unsigned_integer();
      return static_cast<int64_t>(negative ? -magnitude : magnitude);
    }
    const double magnitude = lexer.number("a value");
    return negative ? -magnitude : magnitude;
  }

  Attr attribute(AttrSpec::Type type) {
    switch (type) {
      case AttrSpec::Type::integer: return lexer.integer("an integer");
      case AttrSpec::Type::text: return lexer.string("a string");
      case AttrSpec::Type::dtype: return dtype();
      case AttrSpec::Type::scalar: return any_scalar();
      case AttrSpec::Type::ints: {
        Ints ints;
        lexer.expect("[");
        lexer.list("]", [&] { ints.push_back(lexer.integer("an integer")); });
        return ints;
      }
      case AttrSpec::Type::shape: {
        Shape shape;
        lexer.expect("[");
        lexer.list("]", [&] { shape.push_back(lexer.dim()); });
        return shape;
      }
      case AttrSpec::Type::graph: break;
    }
    lexer.fail("a map has no graph");
  }

  const Prim* map_prim() {
    const Token token = lexer.peek();
    const Prim* found = find_prim(lexer.identifier("an operation"));
    if (!found || found->kind != Kind::map)
      lexer.fail(token, fmt::format("'{}' is neither a tile operation nor a map", token.text));
    return found;
  }

  // After `%x =`.
  Stmt definition(const Token& target) {
    Stmt stmt;
    const auto op = lexer.peek().kind == TokenKind::identifier ? find_op(lexer.peek().text) : std::nullopt;
    if (op == Op::store || op == Op::write) lexer.fail("this operation has no result");
    stmt.op = op.value_or(Op::map);
    if (op) lexer.next();
    std::optional<Scalar> number;
    Token number_token;
    switch (stmt.op) {
      case Op::fill: {
        auto [dtype, axes] = type();
        stmt.scalar = scalar(dtype);
        finish(stmt, target, dtype, std::move(axes));
        return stmt;
      }
      case Op::constant: return constant(target);
      case Op::load: indexed_arg(stmt); break;
      case Op::read:
        stmt.source = value();
        stmt.forms = forms();
        break;
      case Op::index: stmt.forms = {form()}; break;
      case Op::map:
        stmt.prim = map_prim();
        if (lexer.peek().text[0] == '%') operands(stmt);
        parse_attributes(stmt);
        break;
      case Op::accumulate:
      case Op::reduce: stmt.prim = map_prim(); [[fallthrough]];
      default: operands(stmt);
    }
    if (lexer.accept("over")) do
        stmt.over.push_back(atom());
      while (lexer.accept(","));
    lexer.expect(":");
    auto [dtype, axes] = type();
    finish(stmt, target, dtype, std::move(axes));
    return stmt;
  }

  void parse_attributes(Stmt& stmt) {
    while (lexer.peek().kind == TokenKind::identifier) {
      const Token token = lexer.next();
      for (const AttrSpec& spec : stmt.prim->attributes) {
        if (spec.name != token.text) continue;
        lexer.expect("=");
        stmt.attrs.set(spec.name, attribute(spec.type));
      }
      if (!stmt.attrs.find(token.text))
        lexer.fail(token, fmt::format("{} has no attribute '{}'", stmt.prim->name, token.text));
    }
  }

  // The dtype, which says how to read the number, stands after it.
  Stmt constant(const Token& target) {
    Stmt stmt;
    stmt.op = Op::constant;
    const Token token = lexer.peek();
    stmt.scalar = any_scalar();
    lexer.expect(":");
    auto [dtype, axes] = type();
    const bool fits = is_bool(dtype)      ? stmt.scalar.is_bool()
                      : is_int(dtype)     ? stmt.scalar.is_int()
                      : is_complex(dtype) ? stmt.scalar.is_complex()
                                          : stmt.scalar.is_int() || stmt.scalar.is_f64();
    if (!fits) lexer.fail(token, fmt::format("{} is no {}", stmt.scalar.str(), tenfold::name(dtype)));
    stmt.scalar = of_kind(stmt.scalar, dtype);
    finish(stmt, target, dtype, std::move(axes));
    return stmt;
  }

  void finish(Stmt& stmt, const Token& target, Dtype dtype, std::vector<AtomId> axes) {
    const bool updates = stmt.op == Op::accumulate || stmt.op == Op::contract;
    const bool assigns = stmt.op == Op::fill || stmt.op == Op::copy;
    const auto known = values.find(target.text);
    if (updates && known == values.end())
      lexer.fail(target, fmt::format("the variable {} is not defined: fill it first", target.text));
    if (updates || (assigns && known != values.end())) {
      const Value& v = kernel.values[known->second];
      if (v.dtype != dtype || v.axes != axes)
        lexer.fail(target, fmt::format("{} is {}", target.text,
                                       Printer{.kernel = kernel, .out = {}}.type(known->second)));
      stmt.result = known->second;
    } else {
      stmt.result = define(target, target.text, dtype, axes, false);
    }
    stmt.axes = std::move(axes);
  }

  void own_axes(Stmt& stmt) {
    stmt.operands.push_back(operand());
    if (lexer.accept(":")) {
      stmt.axes = axes();
    } else {
      stmt.axes = kernel.values[stmt.operands.back().value].axes;
    }
  }

  Item item() {
    if (lexer.accept("for")) return loop(false);
    if (lexer.accept("while")) return loop(true);
    if (lexer.accept("if")) {
      auto vote = std::make_unique<If>();
      lexer.expect("any");
      vote->mask = operand();
      lexer.expect("{");
      vote->body = body();
      lexer.expect("}");
      return vote;
    }
    Stmt stmt;
    if (lexer.accept("store")) {
      stmt.op = Op::store;
      indexed_arg(stmt);
      if (!stmt.operands.empty()) lexer.fail("a store has no gathered dimension");
    } else if (lexer.accept("write")) {
      stmt.op = Op::write;
      stmt.result = value();
      stmt.forms = forms();
    } else {
      const Token target = lexer.peek();
      lexer.identifier("a statement");
      if (target.text[0] != '%') lexer.fail(target, fmt::format("'{}' starts no statement", target.text));
      lexer.expect("=");
      return definition(target);
    }
    lexer.expect("=");
    own_axes(stmt);
    return stmt;
  }

  Item loop(bool is_while) {
    auto result = std::make_unique<Loop>();
    result->atom = atom();
    result->reverse = lexer.accept("reverse");
    lexer.expect("{");
    if (is_while) {
      result->condition = body();
      lexer.expect("test");
      result->go = operand();
    }
    result->body = body();
    while (lexer.accept("carry")) {
      Carry carry;
      carry.variable = value();
      lexer.expect("<");
      lexer.expect("-");
      carry.next = operand();
      result->carries.push_back(std::move(carry));
    }
    lexer.expect("}");
    return result;
  }

  Body body() {  // up to what ends it, which stays
    Body result;
    if (++depth > kDeepest) lexer.fail(fmt::format("bodies stand more than {} deep in each other", kDeepest));
    while (true) {
      const Token& next = lexer.peek();
      const bool ends =
          next.kind == TokenKind::end || next.text == "}" || next.text == "test" || next.text == "carry";
      if (ends) break;
      result.push_back(item());
    }
    --depth;
    return result;
  }
};

}  // namespace

std::string_view name(Op op) { return kNames[static_cast<size_t>(op)]; }

std::string print(const Kernel& kernel) {
  Printer printer{.kernel = kernel, .out = {}};
  printer.print_head();
  printer.print_kernel();
  return std::move(printer.out);
}

std::string print_headless(const Kernel& kernel) {
  Printer printer{.kernel = kernel, .out = {}};
  printer.print_kernel();
  return std::move(printer.out);
}

std::map<std::string, Symbol> symbols_of(const Kernel& kernel) {
  return Printer{.kernel = kernel, .out = {}}.symbols();
}

std::vector<std::string> symbol_names(const Kernel& kernel) {
  std::vector<std::string> names;
  for (const auto& [name, symbol] : symbols_of(kernel)) names.push_back(name);
  return names;
}

std::string print(const Kernel& kernel, const Stmt& stmt) {
  return Printer{.kernel = kernel, .out = {}}.statement(stmt);
}

std::string print(const Kernel& kernel, const Form& form) {
  return Printer{.kernel = kernel, .out = {}}.form(form);
}

Kernel parse_kernel(std::string_view text, std::string file) {
  return Parser{.lexer = Lexer(text, std::move(file)),
                .kernel = {},
                .symbols = {},
                .atoms = {},
                .values = {},
                .args = {}}
      .parse();
}

Kernel parse_kernel(Lexer& lexer, const std::map<std::string, Dim>& symbols) {
  return Parser{.lexer = lexer,  // a handle: what it reads, the caller's has read
                .kernel = {},
                .symbols = {symbols.begin(), symbols.end()},
                .atoms = {},
                .values = {},
                .args = {}}
      .parse_kernel();
}

}  // namespace tenfold::tile
