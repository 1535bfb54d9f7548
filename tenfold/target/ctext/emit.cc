#include "tenfold/target/ctext/emit.h"

#include "tenfold/base/error.h"
#include "tenfold/target/ctext/writer.h"

namespace tenfold::ctext {

void Writer::run() {
  prepare();
  std::string body;
  std::swap(text, body);
  indent_ = 1;
  open_scope();
  write_body(k.body);
  close_scope();
  std::swap(text, body);  // body: the statements; text: what comes before
  write_head(body);
  text += body + "}\n";
  function.name = name_;
}

// ---- text

void Writer::open(const std::string& head, const std::string& counter) {
  line("{}{{", head.empty() ? "" : head + " ");
  ++indent_;
  open_scope();
  scopes_.back().counter = counter;
}

void Writer::close() {
  close_scope();
  --indent_;
  line("}}");
}

// ---- the head

void Writer::write_head(const std::string& body) {
  const tile::Counts counts = tile::count(k, int64_t{1} << 62).counts;
  text += fmt::format("// {}\n", k.name);
  size_t widest = 0;
  for (const std::string& n : arg_names_) widest = std::max(widest, n.size());
  for (size_t i = 0; i < k.args.size(); ++i)
    text += fmt::format("//   {:<{}}  {}{}  {}\n", arg_names_[i], widest, tenfold::name(k.args[i].dtype),
                        str(k.args[i].shape), k.args[i].output ? "written" : "read");
  text += fmt::format("//   {} bytes read, {} written\n", counts.bytes_read, counts.bytes_written);
  std::string over;
  for (const AtomId a : k.grid)
    over += fmt::format("{}{} in {}", over.empty() ? "" : ", ", atom_names_[a], k.atoms[a].extent.str());
  std::string spread;
  for (const AtomId a : top_lanes_) spread += (spread.empty() ? "" : ", ") + atom_names_[a];
  text += fmt::format("//   groups: {}; items: {}{}\n", over.empty() ? "1" : over, items_,
                      spread.empty() ? "" : " over " + spread);

  function.symbols = symbol_names(k);
  function.items = items_;
  // The largest move to the workspace first, where local memory does not hold all.
  struct Block {
    std::string name, type;
    int64_t elements, bytes;
    bool local = true;
  };
  std::vector<Block> blocks;
  for (size_t v = 0; v < k.values.size(); ++v)
    if (shared_[v] && !staged_.contains(static_cast<ValueId>(v))) {
      const int64_t n = std::max<int64_t>(points(k.values[v].axes), 1);
      blocks.push_back({value_names_[v], memory_type_name(k.values[v].dtype), n,
                        (n * size_of(k.values[v].dtype) + 63) / 64 * 64});
    }
  int64_t bytes = uses_flag_ ? 64 : 0;
  for (const std::string& type : trees_) bytes += items_ * (type.ends_with("2") ? 16 : 8);
  for (const Block& b : blocks) bytes += b.bytes;
  while (bytes > limits_.local_bytes) {
    const auto most =
        std::ranges::max_element(blocks, {}, [](const Block& b) { return b.local ? b.bytes : -1; });
    if (most == blocks.end() || !most->local) break;
    most->local = false;
    bytes -= most->bytes;
    function.workspace_bytes += most->bytes;
  }
  function.local_bytes = bytes;

  std::vector<std::string> parameters;
  for (size_t i = 0; i < k.args.size(); ++i) {
    parameters.push_back(fmt::format("{}{}{}* {}", d.global, k.args[i].output ? "" : "const ",
                                     memory_type_name(k.args[i].dtype), arg_names_[i]));
    if (d.offsets) parameters.push_back(fmt::format("long {}_at", arg_names_[i]));
  }
  for (const std::string& s : function.symbols) parameters.push_back("long " + symbol_text(s));
  parameters.emplace_back("long first_block");
  if (function.workspace_bytes > 0) parameters.push_back(fmt::format("{}uchar* workspace", d.global));
  text += fmt::format("{} {}({}) {{\n", fmt::format(fmt::runtime(d.kernel), items_), name_,
                      fmt::join(parameters, ", "));
  for (const Block& b : blocks)
    if (b.local) text += fmt::format("  {}{} {}[{}];\n", d.local, b.type, b.name, b.elements);
  std::string stages;
  for (const auto& [v, lies] : staged_) {
    stages += fmt::format("  ushort* const {} = staged + {};\n", value_names_[v], function.staged_bytes / 2);
    function.staged_bytes += staged_bytes(lies) * stages_;
  }
  if (!stages.empty()) {
    text += fmt::format("  STAGED({});\n", function.staged_bytes) + stages;
    function.local_bytes = (function.local_bytes + kAligned - 1) / kAligned * kAligned;
  }
  for (const std::string& type : trees_)
    text += fmt::format("  {}{} tree_{}[{}];\n", d.local, type, type, items_);
  if (uses_flag_) text += fmt::format("  {}int flag;\n", d.local);
  int64_t at = 0;
  for (const Block& b : blocks) {
    if (b.local) continue;
    text += fmt::format("  {0}{1}* const {2} = ({0}{1}*)(workspace + {3}*{4}L + {5}L);\n", d.global, b.type,
                        b.name, d.group, function.workspace_bytes, at);
    at += b.bytes;
  }
  if (body.find("item") != std::string::npos || !top_lanes_.empty())
    text += fmt::format("  const int item = {};\n", d.item);
  for (const AtomId a : top_lanes_) text += fmt::format("  const int {} = item;\n", atom_names_[a]);
  if (rows_ >= 0)
    text += fmt::format(
        "  const int lane = item % {0}, warp = item / {0};\n"
        "  const int warp_row = warp / {1} * {2}, warp_column = warp % {1} * {3};\n",
        d.warp, warps_across_, warp_rows_, warp_columns_);
  if (d.offsets)
    for (const std::string& n : arg_names_) text += fmt::format("  {0} += {0}_at;\n", n);
  std::vector<AtomId> grid;
  for (const AtomId a : k.grid)
    if (!single(a)) grid.push_back(a);
  const std::string block = fmt::format("first_block + {}", d.group);
  if (grid.size() == 1) {
    text += fmt::format("  const {} {} = {};\n", counter_type(grid[0]), atom_names_[grid[0]], block);
  } else if (!grid.empty()) {
    text += fmt::format("  long block = {};\n", block);
    for (size_t i = grid.size(); i-- > 0;) {
      const std::string e = dim_text(k.atoms[grid[i]].extent);
      text += fmt::format("  const {} {} = block{};\n", counter_type(grid[i]), atom_names_[grid[i]],
                          i == 0 ? "" : " % " + e);
      if (i > 0) text += fmt::format("  block /= {};\n", e);
    }
  }
}

std::vector<std::string> function_names(std::span<const tile::Kernel* const> kernels) {
  std::vector<std::string> names;
  std::set<std::string> taken;
  for (const tile::Kernel* k : kernels) {
    std::string name = "tn_" + k->name;
    for (char& c : name)
      if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
    std::string own = name;
    for (int n = 2; !taken.insert(own).second; ++n) own = fmt::format("{}_{}", name, n);
    names.push_back(own);
  }
  return names;
}

File emit(std::span<const tile::Kernel* const> kernels, std::span<const std::string> names,
          const Dialect& dialect, const Limits& limits) {
  Math math(dialect, limits.arithmetic);
  File file;
  std::string all;
  bool matrix = false, groups = false;
  for (size_t i = 0; i < kernels.size(); ++i) {
    Writer writer(*kernels[i], names[i], dialect, limits, math);
    writer.run();
    matrix = matrix || writer.uses_matrix();
    groups = groups || writer.uses_matrix_groups();
    if (math.uses_f64() && !limits.arithmetic.f64)
      throw DeviceError(
          fmt::format("kernel {} computes in f64, which the device does not have: convert to f32 before",
                      kernels[i]->name));
    all += "\n" + writer.text;
    file.functions.push_back(std::move(writer.function));
  }
  file.text = std::string(dialect.head);
  if (math.uses_f64()) file.text += dialect.head_f64;
  if (matrix) file.text += dialect.matrix;
  if (groups) file.text += dialect.matrix_groups;
  for (const std::string& helper : math.helper_order()) file.text += "\n" + math.helpers().at(helper);
  file.text += all;
  return file;
}

}  // namespace tenfold::ctext
