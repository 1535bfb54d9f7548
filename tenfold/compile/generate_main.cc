// tenfold_generate OUTDIR: writes, from the primitives' records, what users call and read of them:
//   tenfold/generated/ops.h         C++ functions on tensors
//   tenfold/generated/ops_bind.inc  their Python bindings
//   _ops.pyi                        their Python signatures
//   primitives.md                   a page about every primitive
#include <filesystem>
#include <fstream>
#include <iostream>

#include "tenfold/ir/prim.h"

namespace tenfold {
namespace {

constexpr std::string_view kReduce = "reduce_";

std::string plain_name(const Prim& prim) {
  return std::string(prim.name.starts_with(kReduce) ? prim.name.substr(kReduce.size()) : prim.name);
}

// Functions are written for maps and reductions whose attributes have an obvious C++ and Python form.
bool has_function(const Prim& prim) {
  if (prim.kind != Kind::map && prim.kind != Kind::reduce) return false;
  if (prim.arity < 1 || prim.name == "convert") return false;  // convert is astype
  for (const AttrSpec& a : prim.attributes)
    if (a.type != AttrSpec::Type::dtype && a.type != AttrSpec::Type::integer && a.name != "axes")
      return false;
  return true;
}

std::string operand_name(const Prim& prim, int k) {
  if (k < static_cast<int>(prim.operands.size())) return std::string(prim.operands[k]);
  return std::string(1, "xyzuvw"[k % 6]);
}

std::string_view cpp_type(const AttrSpec& a) { return a.type == AttrSpec::Type::dtype ? "Dtype" : "int64_t"; }

std::string c_string(std::string_view text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + "\"";
}

std::string cpp_function(const Prim& prim) {
  if (prim.kind == Kind::reduce)
    return fmt::format(
        "// {0}\ninline Tensor {1}(const Operand& x, const Axes& axes = {{}}, bool keepdims = false) {{\n"
        "    static const Prim& record = prim(\"{2}\");\n    return apply_reduce(record, x, axes, "
        "keepdims);\n}}\n",
        prim.doc, plain_name(prim), prim.name);
  std::string parameters, operands, attrs;
  for (int k = 0; k < prim.arity; ++k) {
    parameters += fmt::format("{}const Operand& {}", k ? ", " : "", operand_name(prim, k));
    operands += fmt::format("{}{}", k ? ", " : "", operand_name(prim, k));
  }
  for (const AttrSpec& a : prim.attributes) {
    parameters += fmt::format(", {} {}", cpp_type(a), a.name);
    attrs += fmt::format("{}{{\"{}\", {}}}", attrs.empty() ? "" : ", ", a.name, a.name);
  }
  return fmt::format(
      "// {}\ninline Tensor {}({}) {{\n    static const Prim& record = prim(\"{}\");\n    return "
      "apply_map(record, {{{}}}{});\n}}\n",
      prim.doc, plain_name(prim), parameters, prim.name, operands,
      attrs.empty() ? "" : fmt::format(", {{{}}}", attrs));
}

std::string python_signature(const Prim& prim) {
  if (prim.kind == Kind::reduce)
    return fmt::format(
        "def {}(x: ArrayLike, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Tensor",
        plain_name(prim));
  std::string parameters;
  for (int k = 0; k < prim.arity; ++k)
    parameters += fmt::format("{}{}: ArrayLike", k ? ", " : "", operand_name(prim, k));
  for (const AttrSpec& a : prim.attributes)
    parameters += fmt::format(", {}: {}", a.name, a.type == AttrSpec::Type::dtype ? "DtypeLike" : "int");
  return fmt::format("def {}({}) -> Tensor", plain_name(prim), parameters);
}

// One line for each; bindings/ops.cc defines the macros by number of operands.
std::string binding(const Prim& prim) {
  std::string names;
  for (int k = 0; k < prim.arity; ++k) names += fmt::format(", \"{}\"", operand_name(prim, k));
  const std::string tail = fmt::format("{}, {}", c_string(python_signature(prim)), c_string(prim.doc));
  if (prim.kind == Kind::reduce)
    return fmt::format("TENFOLD_BIND_REDUCE({}, {}, {});\n", c_string(plain_name(prim)), c_string(prim.name),
                       tail);
  std::string kind = "MAP";
  if (!prim.attributes.empty())
    kind = prim.attributes[0].type == AttrSpec::Type::dtype ? "DTYPE_MAP" : "INTEGER_MAP";
  return fmt::format("TENFOLD_BIND_{}{}({}, {}, {}{});\n", kind, prim.arity, c_string(plain_name(prim)),
                     c_string(prim.name), tail, names);
}

std::string attr_type(AttrSpec::Type t) {
  switch (t) {
    case AttrSpec::Type::integer: return "integer";
    case AttrSpec::Type::text: return "text";
    case AttrSpec::Type::ints: return "integers";
    case AttrSpec::Type::shape: return "shape";
    case AttrSpec::Type::dtype: return "dtype";
    case AttrSpec::Type::scalar: return "number";
    default: return "graph";
  }
}

std::string page_entry(const Prim& prim) {
  std::string out = fmt::format("### `{}`\n\n{}\n\n", prim.name, prim.doc);
  std::string operands;
  for (int k = 0; k < static_cast<int>(prim.operands.size()); ++k)
    operands += fmt::format("{}`{}`", k ? ", " : "", prim.operands[k]);
  if (!operands.empty()) out += fmt::format("- inputs: {}\n", operands);
  for (const AttrSpec& a : prim.attributes)
    out += fmt::format("- attribute `{}` ({}): {}\n", a.name, attr_type(a.type), a.doc);
  if (has_function(prim))
    out += fmt::format("- Python: `tn.{}`, C++: `tenfold::lang::{}`\n", plain_name(prim), plain_name(prim));
  if (prim.kind == Kind::map || prim.kind == Kind::reduce)
    out += fmt::format("- cost: {} scalar operations a point\n", prim.cost);
  if (!prim.vjp) out += "- no derivative\n";
  if (prim.expand) out += "- composed: planned as a graph of simpler primitives\n";
  return out + "\n";
}

void write(const std::filesystem::path& path, const std::string& text) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream file(path);
  file << text;
  if (!file.flush()) throw UserError(fmt::format("cannot write {}", path.string()));
}

void generate(const std::filesystem::path& folder) {
  constexpr std::string_view kMark =
      "Generated by tenfold_generate from the primitives' records. Do not edit.";
  std::string ops = fmt::format(
      "// {}\n#pragma once\n\n#include \"tenfold/lang/function.h\"\n\nnamespace tenfold::lang {{\n\n", kMark);
  std::string bind = fmt::format("// {}\n", kMark);
  std::string stub =
      fmt::format("# {}\nfrom tenfold._tenfold import ArrayLike, DtypeLike, Tensor\n\n", kMark);
  std::string page = fmt::format("<!-- {} -->\n# Primitives\n", kMark);
  std::optional<Kind> kind;
  for (const Prim* prim : all_prims()) {
    if (kind != prim->kind) page += fmt::format("\n## {}\n\n", name(prim->kind));
    kind = prim->kind;
    page += page_entry(*prim);
    if (!has_function(*prim)) continue;
    ops += cpp_function(*prim) + "\n";
    bind += binding(*prim);
    stub += fmt::format("{}:\n    \"\"\"{}\"\"\"\n    ...\n\n", python_signature(*prim), prim->doc);
  }
  ops += "}  // namespace tenfold::lang\n";
  write(folder / "tenfold/generated/ops.h", ops);
  write(folder / "tenfold/generated/ops_bind.inc", bind);
  write(folder / "_ops.pyi", stub);
  write(folder / "primitives.md", page);
}

}  // namespace
}  // namespace tenfold

int main(int count, char** arguments) {
  if (count != 2) {
    std::cerr << "usage: tenfold_generate OUTDIR\n";
    return 2;
  }
  try {
    tenfold::generate(arguments[1]);
  } catch (const std::exception& error) {
    std::cerr << "tenfold_generate: " << error.what() << "\n";
    return 1;
  }
  return 0;
}
