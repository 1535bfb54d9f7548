#include "program.h"

#include <cstring>
#include <fstream>
#include <random>
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

Array draw(const Type& type, const std::map<std::string, int64_t>& symbols, std::mt19937_64& generator) {
  Ints shape;
  for (const Dim& d : type.shape) {
    std::map<std::string, Symbol> named;
    d.symbols(named);
    std::map<std::string, int64_t> bindings = symbols;
    for (const auto& [name, symbol] : named) bindings.try_emplace(name, Dim::symbol(symbol).hint());
    shape.push_back(d.evaluate(bindings));
  }
  Array out(type.dtype, shape);
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
    char* end = nullptr;
    out[name] = std::strtoll(value.c_str(), &end, 10);
    if (value.empty() || *end) user_error("\"{}\": {} is not an integer", setting, value);
  }
  return out;
}

std::vector<Array> make_arguments(const Graph& graph, const std::vector<std::string>& files,
                                  const std::map<std::string, int64_t>& symbols, uint64_t seed) {
  std::map<std::string, std::string> paths;
  for (const std::string& file : files) paths.insert(split_setting(file, "x=values.npy"));
  std::mt19937_64 generator(seed);
  std::vector<Array> out;
  for (size_t i = 0; i < graph.parameters.size(); ++i) {
    const std::string name = i < graph.names.size() ? graph.names[i] : fmt::format("{}", i);
    const auto path = paths.find(name);
    out.push_back(path == paths.end() ? draw(graph.parameters[i]->type(), symbols, generator)
                                      : read_npy(path->second));
    if (path != paths.end()) paths.erase(path);
  }
  if (!paths.empty())
    user_error("the program has no parameter {}; its parameters are {}", paths.begin()->first,
               fmt::join(graph.names, ", "));
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
