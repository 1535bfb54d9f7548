#include "program.h"

#include <charconv>
#include <cstring>
#include <fstream>
#include <optional>
#include <random>
#include <ranges>
#include <sstream>

#include "tenfold/base/error.h"
#include "tenfold/ir/text.h"

namespace tenfold::cli {
namespace {

std::pair<std::string, std::string> split_setting(const std::string& text, std::string_view example) {
  const auto equals = text.find('=');
  if (equals == std::string::npos || equals == 0) user_error("\"{}\" is not of the form {}", text, example);
  return {text.substr(0, equals), text.substr(equals + 1)};
}

// "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }" of a NumPy file.
Array read_npy(const std::string& path) {
  const std::string bytes = read_file(path);
  const auto bad = [&](std::string_view why) {
    user_error("{} is not a NumPy file that can be read: {}", path, why);
  };
  if (bytes.size() < 12 || bytes.compare(0, 6, "\x93NUMPY") != 0)
    bad("it does not begin with the NumPy mark");
  const bool wide = bytes[6] >= 2;
  size_t header_size = static_cast<uint8_t>(bytes[8]) | static_cast<size_t>(static_cast<uint8_t>(bytes[9]))
                                                            << 8;
  if (wide)
    header_size |= static_cast<size_t>(static_cast<uint8_t>(bytes[10])) << 16 |
                   static_cast<size_t>(static_cast<uint8_t>(bytes[11])) << 24;
  const size_t start = wide ? 12 : 10;
  if (bytes.size() < start + header_size) bad("its header is cut off");
  const std::string header = bytes.substr(start, header_size);
  if (header.find("'fortran_order': False") == std::string::npos)
    bad("its elements are in column order; save a C-ordered copy");
  struct Code {
    std::string_view text;
    Dtype dtype;
  };
  static constexpr Code kCodes[] = {
      {"|b1", Dtype::boolean},   {"|i1", Dtype::i8},         {"<i2", Dtype::i16}, {"<i4", Dtype::i32},
      {"<i8", Dtype::i64},       {"|u1", Dtype::u8},         {"<u2", Dtype::u16}, {"<u4", Dtype::u32},
      {"<u8", Dtype::u64},       {"<f2", Dtype::f16},        {"<f4", Dtype::f32}, {"<f8", Dtype::f64},
      {"<c8", Dtype::complex64}, {"<c16", Dtype::complex128}};
  std::optional<Dtype> dtype;
  for (const Code& code : kCodes)
    if (header.find(fmt::format("'{}'", code.text)) != std::string::npos) dtype = code.dtype;
  if (!dtype) bad("its dtype is not supported");
  const auto open = header.find('(', header.find("'shape'")), close = header.find(')', open);
  if (open == std::string::npos || close == std::string::npos) bad("its header has no shape");
  Ints shape;
  std::stringstream numbers(header.substr(open + 1, close - open - 1));
  for (std::string part; std::getline(numbers, part, ',');)
    if (part.find_first_of("0123456789") != std::string::npos) shape.push_back(std::stoll(part));
  Array out(*dtype, shape);
  if (bytes.size() - start - header_size != out.bytes.size())
    bad("it has fewer or more elements than its shape says");
  if (!out.bytes.empty()) std::memcpy(out.bytes.data(), bytes.data() + start + header_size, out.bytes.size());
  return out;
}

// The symbols of the parameters' shapes.
std::map<std::string, Symbol> symbols_of(const Graph& graph) {
  std::map<std::string, Symbol> out;
  for (const NodeRef& parameter : graph.parameters)
    for (const Dim& d : parameter->shape()) d.symbols(out);
  return out;
}

void check_range(const Symbol& s, int64_t value, std::string_view from) {
  if (value < s.lower || value > s.upper)
    user_error("{} is {}{}, but it goes from {} to {}", s.name, value, from, s.lower, s.upper);
}

// Symbols that are an extent of what was read from files are what they are there.
void bind_symbols(const std::string& name, const Type& type, const Array& read,
                  const std::map<std::string, Symbol>& known, std::map<std::string, int64_t>& bindings) {
  if (type.shape.size() != read.shape.size()) return;  // said when all arguments are there
  for (size_t d = 0; d < read.shape.size(); ++d) {
    const auto symbol = known.find(type.shape[d].str());
    if (symbol == known.end()) continue;
    const std::string from = fmt::format(" in {}, which is {}", name, text_of(read, 0));
    check_range(symbol->second, read.shape[d], from);
    const auto [bound, is_new] = bindings.try_emplace(symbol->first, read.shape[d]);
    if (!is_new && bound->second != read.shape[d])
      user_error("{} is {}{}, but {} elsewhere: by -s or in another input", symbol->first, read.shape[d],
                 from, bound->second);
  }
}

Array draw(const std::string& name, const Type& type, const std::map<std::string, int64_t>& bindings,
           std::mt19937_64& generator) {
  constexpr double kMostBytes = 1e15;  // no machine has more; the product of the extents does not overflow
  Ints shape;
  double bytes = static_cast<double>(size_of(type.dtype));
  for (const Dim& d : type.shape) {
    shape.push_back(d.evaluate(bindings));
    bytes *= static_cast<double>(shape.back());
  }
  const auto make = [&] {
    if (bytes < kMostBytes) try {
        return Array(type.dtype, shape);
      } catch (const std::bad_alloc&) {
      }
    user_error(
        "parameter {} would be {}[{}], {:.3g} bytes, for which there is not enough memory; give a smaller -s",
        name, tenfold::name(type.dtype), fmt::join(shape, ","), bytes);
  };
  Array out = make();
  for (int64_t i = 0; i < out.size(); ++i) {
    const uint64_t word = generator();
    const double unit = std::ldexp(static_cast<double>(word >> 11), -52) - 1;  // [-1, 1)
    if (is_inexact(type.dtype))
      out.set(i, Scalar(unit).round_to(type.dtype));
    else if (is_bool(type.dtype))
      out.set(i, Scalar((word >> 63) != 0));
    else
      out.set(i, Scalar(static_cast<int64_t>(word % 10)).round_to(type.dtype));
  }
  return out;
}

}  // namespace

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) user_error("cannot open {}", path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

Graph read_graph(const std::string& path) { return parse_graph(read_file(path), path); }

std::map<std::string, int64_t> read_symbols(const std::vector<std::string>& settings) {
  std::map<std::string, int64_t> out;
  for (const std::string& setting : settings) {
    const auto [name, value] = split_setting(setting, "n=128");
    int64_t number = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
    if (error != std::errc{} || end != value.data() + value.size())
      user_error("\"{}\": {} is not an integer of 64 bits", setting, value);
    out[name] = number;
  }
  return out;
}

std::vector<Array> make_arguments(const Graph& graph, const std::vector<std::string>& files,
                                  const std::map<std::string, int64_t>& symbols, uint64_t seed) {
  std::map<std::string, std::string> paths;
  for (const std::string& file : files) paths.insert(split_setting(file, "x=values.npy"));
  const std::map<std::string, Symbol> known = symbols_of(graph);
  std::map<std::string, int64_t> bindings;
  for (const auto& [symbol, value] : symbols) {
    const auto found = known.find(symbol);
    if (found == known.end())
      user_error("-s {}={}: the program's parameters have no symbol {}{}{}", symbol, value, symbol,
                 known.empty() ? "" : "; theirs are ", fmt::join(std::views::keys(known), ", "));
    check_range(found->second, value, "");
    bindings[symbol] = value;
  }
  const auto name_of = [&](size_t i) {
    return i < graph.names.size() ? graph.names[i] : fmt::format("{}", i);
  };
  std::vector<std::optional<Array>> read(graph.parameters.size());
  for (size_t i = 0; i < read.size(); ++i) {
    const auto path = paths.find(name_of(i));
    if (path == paths.end()) continue;
    read[i] = read_npy(path->second);
    bind_symbols(name_of(i), graph.parameters[i]->type(), *read[i], known, bindings);
    paths.erase(path);
  }
  if (!paths.empty())
    user_error("the program has no parameter {}; its parameters are {}", paths.begin()->first,
               fmt::join(graph.names, ", "));
  for (const auto& [name, symbol] : known) bindings.try_emplace(name, symbol.hint);
  std::mt19937_64 generator(seed);
  std::vector<Array> out;
  for (size_t i = 0; i < read.size(); ++i)
    out.push_back(read[i] ? *std::move(read[i])
                          : draw(name_of(i), graph.parameters[i]->type(), bindings, generator));
  return out;
}

std::string text_of(const Array& a, int64_t most) {
  std::string out = fmt::format("{}[{}]", name(a.dtype), fmt::join(a.shape, ","));
  if (most == 0) return out;
  out += " ";
  for (int64_t i = 0; i < std::min(a.size(), most); ++i)
    out += fmt::format("{}{}", i ? ", " : "", a.at(i).str());
  return a.size() > most ? out + ", ..." : out;
}

}  // namespace tenfold::cli
