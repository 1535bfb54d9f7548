#include "tenfold/ir/text.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <set>
#include <unordered_map>
#include <unordered_set>

#include "tenfold/ir/build.h"

namespace tenfold {
namespace {

constexpr int kDeepest = 64;  // sub-graphs in sub-graphs; deeper text is not a program

// Printing.

void collect(const Shape& shape, std::map<std::string, Symbol>& into) {
  for (const Dim& dim : shape) dim.symbols(into);
}

void collect(const Graph& graph, std::map<std::string, Symbol>& into) {
  Nodes roots = graph.parameters;
  roots.insert(roots.end(), graph.results.begin(), graph.results.end());
  for (const NodeRef& node : topological(roots)) {
    for (const Type& type : node->types) collect(type.shape, into);
    for (const auto& [name, value] : node->attrs) {
      if (const auto* shape = std::get_if<Shape>(&value)) collect(*shape, into);
      if (const auto* body = std::get_if<GraphRef>(&value)) collect(**body, into);
    }
  }
}

bool is_word(std::string_view text) {
  const auto is_letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; };
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  return !text.empty() && is_letter(text[0]) && text != "inf" && text != "nan" &&
         std::all_of(text.begin(), text.end(),
                     [&](char c) { return is_letter(c) || is_digit(c) || c == '.'; });
}

std::vector<std::string> names_of(const Graph& graph) {
  std::vector<std::string> names;
  std::set<std::string> taken;
  for (size_t i = 0; i < graph.parameters.size(); ++i) {
    std::string name =
        i < graph.names.size() && is_word(graph.names[i]) ? graph.names[i] : fmt::format("p{}", i);
    while (!taken.insert(name).second) name += '_';
    names.push_back(std::move(name));
  }
  return names;
}

// As short as it may be: the reader rounds to the dtype.
std::string scalar_text(const Scalar& value, const Attr* dtype) {
  if (dtype && value.is_f64() && *dtype == Attr(Dtype::f32)) {
    const std::string text = fmt::format("{}", static_cast<float>(value.f()));
    double read = 0;
    const auto parsed = std::from_chars(text.data(), text.data() + text.size(), read);
    if (parsed.ec == std::errc{} && text.find_first_of(".e") != std::string::npos &&
        Scalar(read).round_to(Dtype::f32) == value)
      return text;
  }
  return value.str();
}

class Printer {
 public:
  std::string text = fmt::format("tenfold {}\n", kTextVersion);

  void print(const Graph& graph, std::string_view head) {
    const std::string outer_indent = indent_;
    std::unordered_map<const Node*, std::string> names;
    std::vector<std::pair<GraphRef, std::string>> graphs;
    text += fmt::format("{}{}(", outer_indent, head);
    const std::vector<std::string> parameters = names_of(graph);
    for (size_t i = 0; i < parameters.size(); ++i) {
      text += fmt::format("{}{}: {}", i > 0 ? ", " : "", parameters[i], graph.parameters[i]->type().str());
      names[graph.parameters[i].get()] = "%" + parameters[i];
    }
    text += ") {\n";
    indent_ += "  ";
    int64_t next = 0;
    for (const NodeRef& node : topological(graph.results)) {
      if (names.contains(node.get())) continue;
      if (node->prim->has("projection")) {
        names[node.get()] = fmt::format(
            "%{}", std::stoll(names.at(node->inputs[0].get()).substr(1)) + node->attrs.integer("index"));
        continue;
      }
      std::string attrs;
      for (const auto& [name, value] : node->attrs)
        attrs += fmt::format(" {}={}", name, attr_text(name, value, *node, graphs));
      names[node.get()] = fmt::format("%{}", next);
      text += indent_;
      for (size_t k = 0; k < node->types.size(); ++k) text += fmt::format("{}%{}", k > 0 ? ", " : "", next++);
      text += fmt::format(" = {}(", node->prim->name);
      for (size_t k = 0; k < node->inputs.size(); ++k)
        text.append(k > 0 ? ", " : "").append(names.at(node->inputs[k].get()));
      text += fmt::format("){}\n", attrs);
    }
    text += indent_ + "return";
    for (size_t k = 0; k < graph.results.size(); ++k)
      text.append(k > 0 ? ", " : " ").append(names.at(graph.results[k].get()));
    indent_ = outer_indent;
    text += fmt::format("\n{}}}\n", indent_);
  }

 private:
  std::string attr_text(const std::string& name, const Attr& value, const Node& node,
                        std::vector<std::pair<GraphRef, std::string>>& graphs) {
    if (const auto* v = std::get_if<int64_t>(&value)) return fmt::format("{}", *v);
    if (const auto* v = std::get_if<std::string>(&value)) return quote(*v);
    if (const auto* v = std::get_if<Ints>(&value)) return fmt::format("[{}]", fmt::join(*v, ","));
    if (const auto* v = std::get_if<Shape>(&value)) return str(*v);
    if (const auto* v = std::get_if<Dtype>(&value)) return std::string(tenfold::name(*v));
    if (const auto* v = std::get_if<Scalar>(&value)) return scalar_text(*v, node.attrs.find("dtype"));
    const GraphRef& graph = std::get<GraphRef>(value);
    for (const auto& [known, known_name] : graphs)
      if (same(*known, *graph)) return known_name;
    graphs.emplace_back(graph, fmt::format("{}{}", name, graphs.size()));
    print(*graph, graphs.back().second + " = graph");
    return graphs.back().second;
  }

  std::string indent_;
};

// Parsing.

class Parser {
 public:
  Parser(std::string_view text, const std::string& file) : file_(file), lexer_(text, file) {}

  Graph parse() {
    if (!lexer_.accept("tenfold"))
      lexer_.fail(fmt::format("the first line must be the header 'tenfold {}'", kTextVersion));
    lexer_.version();
    while (lexer_.accept("symbol")) parse_symbol();
    const Token what = lexer_.peek();
    if (what.text == "kernel")
      lexer_.fail(what, "a tile program is not a graph: kernels run as parts of a plan, beside its graph");
    if (what.text == "plan") lexer_.fail(what, "a plan is not a graph: it runs beside its graph, as --plan");
    lexer_.expect("graph");
    lexer_.identifier("the graph's name");
    Graph graph = parse_body(nullptr, 0);
    const TokenKind kind = lexer_.peek().kind;
    if (kind != TokenKind::end && kind != TokenKind::section)
      lexer_.fail("expected the end of the text after the graph");
    return graph;
  }

 private:
  struct Scope {
    Scope* outer = nullptr;
    std::unordered_map<std::string, NodeRef> values;
    std::unordered_map<std::string, GraphRef> graphs;
  };

  // What a rule or a dimension says is wrong, told with its place.
  template <class Do>
  auto at(const Token& token, const Do& act) {
    try {
      return act();
    } catch (const UserError& error) {
      if (std::string_view(error.what()).starts_with(file_ + ":")) throw;
      lexer_.fail(token, error.what());
    }
  }

  static std::string bare(const std::string& name) { return name.starts_with('%') ? name.substr(1) : name; }

  void parse_symbol() {
    const Token token = lexer_.peek();
    const Symbol symbol = lexer_.symbol();
    lexer_.declare(at(token, [&] { return Dim::symbol(symbol); }));
  }

  Graph parse_body(Scope* outer, int depth) {
    if (depth > kDeepest)
      lexer_.fail(fmt::format("sub-graphs stand more than {} deep in each other", kDeepest));
    Graph graph;
    Scope scope{outer, {}, {}};
    lexer_.expect("(");
    lexer_.list(")", [&] {
      const Token token = lexer_.peek();
      const std::string name = bare(lexer_.identifier("a parameter's name"));
      lexer_.expect(":");
      const Type type = parse_type();
      graph.parameters.push_back(
          at(token, [&] { return build::parameter(std::ssize(graph.parameters), type); }));
      graph.names.push_back(name);
      define(scope, token, name, graph.parameters.back());
    });
    lexer_.expect("{");
    while (!lexer_.accept("return")) parse_statement(scope, depth);
    if (lexer_.peek().text != "}") {
      do graph.results.push_back(value(scope));
      while (lexer_.accept(","));
    }
    lexer_.expect("}");
    return graph;
  }

  void define(Scope& scope, const Token& token, const std::string& name, NodeRef node) {
    if (!scope.values.emplace(name, std::move(node)).second)
      lexer_.fail(token, fmt::format("the name '{}' stands twice in this graph", token.text));
  }

  NodeRef value(const Scope& scope) {
    const Token token = lexer_.peek();
    const auto found = scope.values.find(bare(lexer_.identifier("a value such as %0")));
    if (found == scope.values.end())
      lexer_.fail(
          token, fmt::format("there is no value '{}' here: a value stands before its uses, in the same graph",
                             token.text));
    return found->second;
  }

  void parse_statement(Scope& scope, int depth) {
    std::vector<Token> targets;
    do {
      targets.push_back(lexer_.peek());
      lexer_.identifier("a statement or 'return'");
    } while (lexer_.accept(","));
    lexer_.expect("=");
    const Token op = lexer_.peek();
    const std::string name = lexer_.identifier("a primitive's name");
    if (name == "graph") {
      auto graph = std::make_shared<const Graph>(parse_body(&scope, depth + 1));
      if (targets.size() != 1) lexer_.fail(op, "a sub-graph has one name");
      if (!scope.graphs.emplace(targets[0].text, std::move(graph)).second)
        lexer_.fail(targets[0],
                    fmt::format("the sub-graph '{}' stands twice in this graph", targets[0].text));
      return;
    }
    const Prim* prim = find_prim(name);
    if (!prim || prim->has("parameter") || prim->has("projection"))
      lexer_.fail(op, fmt::format("there is no primitive named '{}'", name));
    Nodes inputs;
    lexer_.expect("(");
    lexer_.list(")", [&] { inputs.push_back(value(scope)); });
    Attrs attrs;
    while (is_attr(lexer_.peek(), op.line)) parse_attr(*prim, scope, attrs);
    const std::string wrong = complaint(*prim, inputs.size(), attrs);
    if (!wrong.empty()) lexer_.fail(op, wrong);
    const NodeRef node = at(op, [&] { return make(*prim, std::move(inputs), std::move(attrs)); });
    if (targets.size() != node->types.size())
      lexer_.fail(targets[0], fmt::format("{} gives {} value{}, but {} name{} before the '='", name,
                                          node->types.size(), node->types.size() == 1 ? "" : "s",
                                          targets.size(), targets.size() == 1 ? " stands" : "s stand"));
    for (size_t k = 0; k < targets.size(); ++k)
      define(scope, targets[k], bare(targets[k].text), build::item(node, static_cast<int64_t>(k)));
  }

  static bool is_attr(const Token& token, int line) {
    return token.kind == TokenKind::identifier && token.line == line && token.text != "return" &&
           !token.text.starts_with('%');
  }

  void parse_attr(const Prim& prim, const Scope& scope, Attrs& attrs) {
    const Token token = lexer_.peek();
    const std::string name = lexer_.identifier("an attribute");
    const auto spec = std::find_if(prim.attributes.begin(), prim.attributes.end(),
                                   [&](const AttrSpec& s) { return s.name == name; });
    if (spec == prim.attributes.end())
      lexer_.fail(token, fmt::format("{} has no attribute '{}'{}", prim.name, name, attributes_of(prim)));
    if (attrs.find(name)) lexer_.fail(token, fmt::format("the attribute '{}' stands twice", name));
    lexer_.expect("=");
    Attr value = parse_value(spec->type, scope);
    attrs.set(name, std::move(value));
    // A number of a dtype is rounded to it, whichever of the two came first.
    const Attr *scalar = attrs.find("value"), *dtype = attrs.find("dtype");
    if (scalar && dtype && std::holds_alternative<Scalar>(*scalar) && std::holds_alternative<Dtype>(*dtype))
      attrs.set("value", std::get<Scalar>(*scalar).round_to(std::get<Dtype>(*dtype)));
  }

  static std::string attributes_of(const Prim& prim) {
    if (prim.attributes.empty()) return "; it has none";
    std::vector<std::string_view> names;
    for (const AttrSpec& spec : prim.attributes) names.push_back(spec.name);
    return fmt::format("; it has {}", fmt::join(names, ", "));
  }

  Attr parse_value(AttrSpec::Type type, const Scope& scope) {
    switch (type) {
      case AttrSpec::Type::integer: return lexer_.integer("the attribute's value");
      case AttrSpec::Type::text: return lexer_.string("the attribute's value");
      case AttrSpec::Type::ints: {
        Ints ints;
        lexer_.expect("[");
        lexer_.list("]", [&] { ints.push_back(lexer_.integer("an entry")); });
        return ints;
      }
      case AttrSpec::Type::shape: return parse_shape();
      case AttrSpec::Type::dtype: return parse_dtype_name();
      case AttrSpec::Type::scalar: return parse_scalar();
      case AttrSpec::Type::graph: break;
    }
    const Token token = lexer_.peek();
    const std::string name = lexer_.identifier("a sub-graph's name");
    for (const Scope* s = &scope; s; s = s->outer)
      if (const auto found = s->graphs.find(name); found != s->graphs.end()) return found->second;
    lexer_.fail(
        token,
        fmt::format("there is no sub-graph '{}': it stands before its use, as '{} = graph(...) {{ ... }}'",
                    name, name));
  }

  Shape parse_shape() {
    Shape shape;
    lexer_.expect("[");
    lexer_.list("]", [&] {
      const Token token = lexer_.peek();
      shape.push_back(at(token, [&] { return lexer_.dim(); }));
    });
    return shape;
  }

  Dtype parse_dtype_name() {
    const Token token = lexer_.peek();
    const auto dtype = parse_dtype(lexer_.identifier("a dtype"));
    if (!dtype) lexer_.fail(token, fmt::format("there is no dtype named '{}'", token.text));
    return *dtype;
  }

  Type parse_type() {
    const Dtype dtype = parse_dtype_name();
    return {dtype, parse_shape()};
  }

  Scalar parse_scalar() {
    if (lexer_.accept("true")) return true;
    if (lexer_.accept("false")) return false;
    if (lexer_.accept("complex")) {
      lexer_.expect("(");
      const double re = lexer_.number("the real part");
      lexer_.expect(",");
      const double im = lexer_.number("the imaginary part");
      lexer_.expect(")");
      return Complex(re, im);
    }
    const Token token = lexer_.peek();
    if (token.kind == TokenKind::integer) {
      uint64_t large = 0;  // an i64 if it fits
      const auto parsed = std::from_chars(token.text.data(), token.text.data() + token.text.size(), large);
      if (parsed.ec == std::errc{} && parsed.ptr == token.text.data() + token.text.size() &&
          large > uint64_t{1} << 63) {
        lexer_.next();
        return large;
      }
      return integer_scalar();
    }
    if (!lexer_.accept("-")) return lexer_.number("a number, true or false");
    if (lexer_.peek().kind != TokenKind::integer) return -lexer_.number("a number");
    return integer_scalar(true);
  }

  // The least i64 has a magnitude that does not fit.
  Scalar integer_scalar(bool is_negative = false) {
    constexpr std::string_view kEdge = "9223372036854775808";
    if (lexer_.peek().text == kEdge) {
      lexer_.next();
      if (is_negative) return std::numeric_limits<int64_t>::min();
      return uint64_t{1} << 63;
    }
    const int64_t magnitude = lexer_.integer("a number");
    return is_negative ? -magnitude : magnitude;
  }

  std::string file_;
  Lexer lexer_;
};

// Verifying.

class Verifier {
 public:
  std::vector<std::string> complaints;

  void check(const Graph& graph, const std::string& where) {
    if (!seen_.insert(&graph).second) return;
    std::unordered_set<const Node*> own;
    for (size_t i = 0; i < graph.parameters.size(); ++i) {
      const NodeRef& node = graph.parameters[i];
      if (!node || !node->prim->has("parameter")) {
        complain(where,
                 fmt::format("parameter {} is {}, not a parameter", i, node ? node->prim->name : "missing"));
        continue;
      }
      own.insert(node.get());
      if (node->attrs.integer("scope") != 0 || node->attrs.integer("index") != static_cast<int64_t>(i))
        complain(where, fmt::format("parameter {} has index {} and scope {}: in a closed graph the index is "
                                    "the position and the scope 0",
                                    i, node->attrs.integer("index"), node->attrs.integer("scope")));
    }
    if (!graph.names.empty() && graph.names.size() != graph.parameters.size())
      complain(where, fmt::format("{} names for {} parameters", graph.names.size(), graph.parameters.size()));
    for (size_t k = 0; k < graph.results.size(); ++k) {
      if (!graph.results[k])
        complain(where, fmt::format("result {} is missing", k));
      else if (graph.results[k]->types.size() != 1)
        complain(where, fmt::format("result {} is a {} with {} outputs: one must be projected", k,
                                    graph.results[k]->prim->name, graph.results[k]->types.size()));
    }
    for (const NodeRef& node : topological(graph.results)) check(*node, own, where);
  }

 private:
  void complain(const std::string& where, const std::string& what) { complaints.push_back(where + what); }

  void check(const Node& node, const std::unordered_set<const Node*>& own, const std::string& where) {
    const std::string here = fmt::format("{}{}: ", where, node.prim->name);
    if (node.prim->has("parameter") && !own.contains(&node))
      complain(where,
               fmt::format("uses a parameter ({}, index {}, scope {}) that is not one of the graph's",
                           node.type().str(), node.attrs.integer("index"), node.attrs.integer("scope")));
    const std::string wrong = complaint(*node.prim, node.inputs.size(), node.attrs);
    if (!wrong.empty()) return complain(where, wrong);
    for (const NodeRef& input : node.inputs) {
      if (!input) return complain(here, "an input is missing");
      if (input->id >= node.id) complain(here, "an input is younger than its user");
      if (input->types.size() != 1 && !node.prim->has("projection"))
        return complain(here, "an input has several outputs: one must be projected");
    }
    try {
      if (node.prim->type(node.attrs, node.inputs) != node.types)
        complain(here, "its types are not those of its type rule");
    } catch (const Error& error) {
      complain(here, error.what());
    }
    for (const auto& [name, value] : node.attrs)
      if (const auto* graph = std::get_if<GraphRef>(&value))
        check(**graph, fmt::format("{}{} {}: ", where, node.prim->name, name));
  }

  std::unordered_set<const Graph*> seen_;
};

}  // namespace

std::string print(const Graph& graph, std::string_view name) {
  Printer printer;
  std::map<std::string, Symbol> symbols;
  collect(graph, symbols);
  for (const auto& [key, s] : symbols)
    printer.text += fmt::format("symbol {} in {}..{} hint {}\n", s.name, s.lower, s.upper, s.hint);
  printer.print(graph, fmt::format("graph {}", is_word(name) ? name : "main"));
  return std::move(printer.text);
}

Graph parse_graph(std::string_view text, std::string file) { return Parser(text, file).parse(); }

std::vector<std::string> verify(const Graph& graph) {
  Verifier verifier;
  verifier.check(graph, "");
  return std::move(verifier.complaints);
}

}  // namespace tenfold
