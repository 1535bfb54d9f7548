#include "tenfold/compile/explain.h"

#include <fstream>

#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "tenfold/ir/text.h"
#include "tenfold/plan/text.h"

#include "common.h"
#include "jitted.h"

namespace tenfold::python {
namespace {

using compile::Explanation;
using compile::LaunchCost;

// Times launches between __enter__ and __exit__.
class ProfileScope {
 public:
  void enter() {
    if (profile_)
      user_error("profile: it is measuring already.\n  called at {}\n  Take another tn.profile().",
                 here().str());
    profile_ = std::make_unique<Profile>();
  }
  void exit() {
    if (!profile_)
      user_error("profile: it was not entered.\n  called at {}\n  Use it as `with tn.profile() as p:`.",
                 here().str());
    rows_ = profile_->rows();
    text_ = profile_->str();
    launches_ = profile_->launches();
    profile_.reset();
  }
  std::vector<Profile::Row> rows_;
  std::string text_;
  int64_t launches_ = 0;

 private:
  std::unique_ptr<Profile> profile_;
};

void write_html(const Explanation& e, nb::handle path) {
  const std::string name = str_of(path);
  std::ofstream file(name);
  file << e.html();
  if (!file.flush()) user_error("explain: cannot write {}.\n  called at {}", name, here().str());
}

}  // namespace

void bind_explain(nb::module_& m) {
  nb::class_<LaunchCost>(m, "LaunchCost", "One kernel of a program.")
      .def_ro("name", &LaunchCost::name)
      .def_ro("times", &LaunchCost::times, "Launches in one call.")
      .def_ro("bytes_read", &LaunchCost::bytes_read)
      .def_ro("bytes_written", &LaunchCost::bytes_written)
      .def_ro("flops", &LaunchCost::flops)
      .def_ro("matrix", &LaunchCost::matrix, "Of flops, the multiplications that matrix units do.")
      .def_ro("seconds", &LaunchCost::seconds, "Predicted.")
      .def_ro("bound", &LaunchCost::bound)
      .def_ro("operations", &LaunchCost::operations)
      .def_ro("loops", &LaunchCost::loops, "How it runs, in a line: jit(f, loops=...) takes it.")
      .def_ro("axes", &LaunchCost::axes, "What the letters of its loops stand for.")
      .def_prop_ro(
          "tile", [](const LaunchCost& c) { return tile::print(*c.kernel); }, "The tile program, as text.");
  nb::class_<Explanation>(m, "Explanation", "What a compiled function costs, and why.")
      .def_ro("launches", &Explanation::launches)
      .def_ro("bytes_read", &Explanation::bytes_read)
      .def_ro("bytes_written", &Explanation::bytes_written)
      .def_ro("bytes_least", &Explanation::bytes_least)
      .def_ro("flops", &Explanation::flops)
      .def_ro("seconds", &Explanation::seconds, "Predicted.")
      .def_ro("clusters", &Explanation::clusters)
      .def_ro("interpreted", &Explanation::interpreted)
      .def_ro("workspace_bytes", &Explanation::workspace_bytes)
      .def_ro("kernels", &Explanation::kernels)
      .def_ro("notes", &Explanation::notes)
      .def_ro("machine", &Explanation::machine)
      .def_ro("device", &Explanation::device)
      .def_prop_ro(
          "plan",
          [](const Explanation& e) {
            if (!e.executable->program())
              user_error("explain: the interpreter runs this program: there is no plan.\n  called at {}",
                         here().str());
            return plan::print(e.executable->plan());
          },
          "The plan as text: jit(f, plan=text) replays it, edited or not.")
      .def_prop_ro(
          "graph", [](const Explanation& e) { return print(e.executable->graph()); },
          "The traced graph as text, as a .ten file holds it: `tenfold run` runs it.")
      .def_prop_ro(
          "passes",
          [](const Explanation& e) {
            nb::dict out;
            for (const auto& t : e.times) out[t.name.c_str()] = t.seconds;
            return out;
          },
          "Seconds that each pass took.")
      .def(
          "listing",
          [](const Explanation& e, const std::string& what) {
            std::string out;
            for (const LaunchCost& k : e.kernels)
              out += e.executable->target()->listing(*k.kernel, what) + "\n";
            return out;
          },
          nb::arg("what") = "asm", "The code of the kernels: \"asm\" or \"llvm\"; on a device, \"c\".")
      .def("html", &write_html, nb::arg("path"),
           "Writes a page that shows the graph, the tile programs and the assembly.")
      .def("__str__", &Explanation::str)
      .def("__repr__", &Explanation::str);
  m.def(
      "_explain_call",
      [](Jitted& jitted, nb::tuple args, nb::dict kwargs) {
        return compile::explain(jitted.compiled(args, kwargs)->executable());
      },
      nb::arg("jitted"), nb::arg("args"), nb::arg("kwargs"));
  nb::class_<ProfileScope>(
      m, "profile",
      "with tn.profile() as p: ... ; print(p) shows the launches of this thread and what they took.")
      .def(nb::init<>())
      .def("__enter__",
           [](nb::handle self) {
             nb::cast<ProfileScope&>(self).enter();
             return nb::borrow(self);
           })
      .def("__exit__", [](ProfileScope& p, nb::args) { p.exit(); })
      .def_prop_ro("launches", [](const ProfileScope& p) { return p.launches_; })
      .def_prop_ro(
          "rows",
          [](const ProfileScope& p) {
            nb::list out;
            for (const auto& row : p.rows_)
              out.append(nb::make_tuple(row.name, row.runs, row.seconds, row.bytes));
            return out;
          },
          "(name, runs, seconds, predicted bytes) of each launch.")
      .def("__str__", [](const ProfileScope& p) { return p.text_; });
}

}  // namespace tenfold::python
