#include "tenfold/compile/page.h"

#include <algorithm>
#include <cstdlib>
#include <set>
#include <unordered_map>

#include <fmt/format.h>

#include "tenfold/ir/prim.h"
#include "tenfold/ir/text.h"
#include "tenfold/rewrite/rule.h"

namespace tenfold::compile {
namespace {

constexpr size_t kMostNodes = 400;  // a larger graph is shown as text only
constexpr int kBoxWidth = 168, kBoxHeight = 44, kGapX = 28, kGapY = 46, kMargin = 16;

std::string escaped(std::string_view text) {
  std::string out;
  for (char c : text) {
    if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else if (c == '&')
      out += "&amp;";
    else if (c == '"')
      out += "&quot;";
    else
      out += c;
  }
  return out;
}

std::string bytes_text(double bytes) {
  if (bytes < 1024) return fmt::format("{:.0f} B", bytes);
  if (bytes < 1024 * 1024) return fmt::format("{:.4g} KiB", bytes / 1024);
  if (bytes < 1024.0 * 1024 * 1024) return fmt::format("{:.4g} MiB", bytes / (1024 * 1024));
  return fmt::format("{:.4g} GiB", bytes / (1024.0 * 1024 * 1024));
}

double bytes_of(const Type& t) { return static_cast<double>(volume(t.shape).hint() * size_of(t.dtype)); }

std::string types_text(const Node& node) {
  std::string out;
  for (const Type& t : node.types) out += (out.empty() ? "" : ", ") + t.str();
  return out;
}

// A colour for each cluster; nodes of none are grey.
std::string colour(int cluster) {
  return cluster < 0 ? "#eeeeee" : fmt::format("hsl({},70%,88%)", (cluster * 67 + 205) % 360);
}

// Layered drawing: a node stands one row below the lowest of its inputs; within a row, ordered by where its
// inputs stand. Constants stand in the boxes that use them.
class Drawing {
 public:
  explicit Drawing(const Explanation& e) : graph_(e.executable->core()) {
    for (const NodeRef& node : topological(graph_.results))
      if (!rewrite::constant_of(node)) order_.push_back(node);
    assign_clusters(e.executable->plan().steps);
    place();
  }

  std::string svg() const {
    int width = 0, height = 0;
    for (const auto& [node, at] : at_) {
      width = std::max(width, at.first + kBoxWidth);
      height = std::max(height, at.second + kBoxHeight);
    }
    std::string out =
        fmt::format("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{}\" font-size=\"11\">",
                    width + kMargin, height + kMargin);
    out +=
        "<defs><marker id=\"arrow\" markerWidth=\"8\" markerHeight=\"8\" refX=\"7\" refY=\"3\" "
        "orient=\"auto\">"
        "<path d=\"M0,0 L7,3 L0,6\" fill=\"#888\"/></marker></defs>";
    std::set<std::pair<const Node*, int>> labelled;
    for (const NodeRef& node : order_)
      for (const NodeRef& input : node->inputs)
        if (at_.contains(input.get()))
          out += edge(*input, *node, labelled.insert({input.get(), cluster_of(*node)}).second);
    for (const NodeRef& node : order_) out += box(*node);
    return out + "</svg>";
  }

 private:
  void assign_clusters(const std::vector<plan::Step>& steps) {
    for (const plan::Step& step : steps) {
      if (const auto* launch = std::get_if<plan::Launch>(&step.what)) {
        for (const NodeRef& node : launch->nodes) cluster_.try_emplace(node.get(), next_cluster_);
        ++next_cluster_;
      } else if (const auto* repeat = std::get_if<std::shared_ptr<plan::Repeat>>(&step.what)) {
        assign_clusters((*repeat)->condition);
        assign_clusters((*repeat)->body);
      }
    }
  }

  void place() {
    std::unordered_map<const Node*, int> row;
    std::vector<std::vector<const Node*>> rows;
    for (const NodeRef& node : order_) {
      int r = 0;
      for (const NodeRef& input : node->inputs)
        if (const auto found = row.find(input.get()); found != row.end()) r = std::max(r, found->second + 1);
      row[node.get()] = r;
      if (static_cast<int>(rows.size()) <= r) rows.resize(r + 1);
      rows[r].push_back(node.get());
    }
    std::unordered_map<const Node*, double> centre;
    for (size_t r = 0; r < rows.size(); ++r) {
      const auto wish = [&](const Node* n) {
        double sum = 0;
        int count = 0;
        for (const NodeRef& input : n->inputs)
          if (const auto found = centre.find(input.get()); found != centre.end())
            sum += found->second, ++count;
        return count ? sum / count : 0.0;
      };
      if (r > 0) std::ranges::stable_sort(rows[r], {}, wish);
      for (size_t i = 0; i < rows[r].size(); ++i) {
        const int x = kMargin + static_cast<int>(i) * (kBoxWidth + kGapX),
                  y = kMargin + static_cast<int>(r) * (kBoxHeight + kGapY);
        at_[rows[r][i]] = {x, y};
        centre[rows[r][i]] = x;
      }
    }
  }

  int cluster_of(const Node& node) const {
    const auto found = cluster_.find(&node);
    return found == cluster_.end() ? -1 : found->second;
  }

  std::string box(const Node& node) const {
    const auto [x, y] = at_.at(&node);
    std::string label(node.prim->name);
    for (size_t k = 0; k < graph_.parameters.size(); ++k)
      if (graph_.parameters[k].get() == &node)
        label = k < graph_.names.size() ? graph_.names[k] : fmt::format("p{}", k);
    for (const NodeRef& input : node.inputs)
      if (const auto value = rewrite::constant_of(input))
        label += is_inexact(input->dtype()) && !value->is_complex() ? fmt::format(" {:.4g}", value->f())
                                                                    : " " + value->str();
    return fmt::format(
        "<g><title>{}</title><rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"5\" fill=\"{}\" "
        "stroke=\"#999\"/>"
        "<text x=\"{}\" y=\"{}\" font-weight=\"bold\">{}</text><text x=\"{}\" y=\"{}\" "
        "fill=\"#555\">{}</text></g>",
        escaped(fmt::format("{} : {}", label, types_text(node))), x, y, kBoxWidth, kBoxHeight,
        colour(cluster_of(node)), x + 8, y + 17, escaped(label.substr(0, 24)), x + 8, y + 34,
        escaped(types_text(node).substr(0, 28)));
  }

  // Bytes stand on the edges that cross from memory into a cluster: what stays in registers moves none.
  std::string edge(const Node& from, const Node& to, bool label) const {
    const auto [x0, y0] = at_.at(&from);
    const auto [x1, y1] = at_.at(&to);
    const bool crosses = cluster_of(from) != cluster_of(to);
    const int ax = x0 + kBoxWidth / 2, ay = y0 + kBoxHeight, bx = x1 + kBoxWidth / 2, by = y1;
    const bool behind =
        y1 - y0 > kBoxHeight + kGapY && std::abs(ax - bx) < kBoxWidth;  // other boxes: around them
    const int bend = behind ? kBoxWidth * 3 / 4 : 0;
    std::string out = fmt::format(
        "<path d=\"M{},{} C{},{} {},{} {},{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"{}\" "
        "marker-end=\"url(#arrow)\"/>",
        ax, ay, ax + bend, ay + kGapY / 2, bx + bend, by - kGapY / 2, bx, by, crosses ? "#c33" : "#bbb",
        crosses ? 2 : 1);
    if (crosses && label && from.types.size() == 1)
      out += fmt::format("<text x=\"{}\" y=\"{}\" fill=\"#a22\">{}</text>", (ax + bx + bend) / 2 + 4,
                         (ay + by) / 2 + 4, bytes_text(bytes_of(from.types[0])));
    return out;
  }

  const Graph& graph_;
  Nodes order_;
  std::unordered_map<const Node*, int> cluster_;
  int next_cluster_ = 0;
  std::unordered_map<const Node*, std::pair<int, int>> at_;
};

std::string listing(const Explanation& e, const tile::Kernel& kernel) {
  if (!e.executable->target()) return "";
  try {
    return e.executable->target()->listing(kernel, "asm");
  } catch (const Error& error) {
    return fmt::format("(no listing: {})", error.what());
  }
}

constexpr std::string_view kStyle = R"(
body { font: 14px/1.45 system-ui, sans-serif; margin: 24px; color: #222; background: #fff; }
h1 { font-size: 20px; } h2 { font-size: 16px; margin-top: 28px; }
table { border-collapse: collapse; } td, th { padding: 3px 12px 3px 0; text-align: left; vertical-align: top; }
td.n { font-variant-numeric: tabular-nums; }
pre { font: 12px/1.4 ui-monospace, monospace; background: #f6f6f6; padding: 10px; overflow: auto; max-height: 560px; margin: 0; }
.graph { overflow: auto; border: 1px solid #ddd; max-height: 720px; }
.pair { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: 12px; }
.swatch { display: inline-block; width: 12px; height: 12px; border: 1px solid #999; border-radius: 3px; margin-right: 6px; }
@media (max-width: 900px) { .pair { grid-template-columns: minmax(0, 1fr); } }
)";

}  // namespace

std::string html_page(const Explanation& e, const std::string& title) {
  std::string out = fmt::format(
      "<!doctype html>\n<html lang=\"en\"><head><meta "
      "charset=\"utf-8\"><title>{0}</title><style>{1}</style></head><body><h1>{0}</h1>\n",
      escaped(title), kStyle);
  const double moved = e.bytes_read + e.bytes_written;
  const auto row = [&](std::string_view name, const std::string& value) {
    out += fmt::format("<tr><th>{}</th><td class=\"n\">{}</td></tr>\n", name, escaped(value));
  };
  out += "<table>";
  row("launches", fmt::format("{}", e.launches));
  row("bytes read", fmt::format("{:.0f}", e.bytes_read));
  row("bytes written", fmt::format("{:.0f}", e.bytes_written));
  row("least bytes", fmt::format("{:.0f}", e.bytes_least));
  row("moved / least", fmt::format("{:.2f}", e.bytes_least > 0 ? moved / e.bytes_least : 1.0));
  row("scalar operations", fmt::format("{:.4g}", e.flops));
  row("predicted", fmt::format("{:.4g} us", e.seconds * 1e6));
  row("workspace", fmt::format("{} bytes", e.workspace_bytes));
  row("machine record", fmt::format("{} ({})", e.machine, e.machine_hash));
  if (e.interpreted > 0) row("interpreted operations", fmt::format("{}", e.interpreted));
  out += "</table>\n";

  out +=
      "<h2>Graph</h2>\n<p>Nodes of one colour are one launch. A red edge crosses memory and carries the "
      "bytes of the value; the others stay inside a kernel.</p>\n";
  if (topological(e.executable->core().results).size() <= kMostNodes)
    out += "<div class=\"graph\">" + Drawing(e).svg() + "</div>\n";
  else
    out += fmt::format("<p>{} nodes are too many to draw.</p>\n",
                       topological(e.executable->core().results).size());
  out += "<details><summary>as text</summary><pre>" + escaped(print(e.executable->core())) +
         "</pre></details>\n";

  if (!e.notes.empty()) {
    out += "<h2>Notes</h2><ul>";
    for (const std::string& note : e.notes) out += "<li>" + escaped(note) + "</li>";
    out += "</ul>\n";
  }
  for (size_t k = 0; k < e.kernels.size(); ++k) {
    const LaunchCost& c = e.kernels[k];
    out += fmt::format("<h2><span class=\"swatch\" style=\"background:{}\"></span>{}{}</h2>\n",
                       colour(static_cast<int>(k)), escaped(c.name),
                       c.times != 1 ? fmt::format(" &times;{:.0f}", c.times) : "");
    out += "<table>";
    if (!c.operations.empty()) row("computes", c.operations);
    if (!c.loops.empty()) row("loops", c.loops);
    if (!c.axes.empty()) row("axes", c.axes);
    row("memory", fmt::format("{:.0f} read, {:.0f} written", c.bytes_read, c.bytes_written));
    row("cache", fmt::format("{:.0f} loaded and stored, {:.0f} in scratch", c.touched, c.scratch));
    row("scalar operations", fmt::format("{:.4g}", c.flops));
    if (c.matrix > 0) row("on matrix units", fmt::format("{:.4g} multiplications of them", c.matrix));
    row("bound by", fmt::format("{}; {:.4g} us predicted", c.bound, c.seconds * 1e6));
    out += "</table>\n<div class=\"pair\"><pre>" + escaped(tile::print(*c.kernel)) + "</pre><pre>" +
           escaped(listing(e, *c.kernel)) + "</pre></div>\n";
  }
  return out + "</body></html>\n";
}

}  // namespace tenfold::compile
