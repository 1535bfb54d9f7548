// Scans, and their inputs and outputs by their roles.
#pragma once

#include "tenfold/ir/prim.h"

namespace tenfold {

// A loop of known length.
inline bool is_scan(const Node& n) { return n.prim->kind == Kind::control && n.attrs.find("length"); }

struct ScanView {
  explicit ScanView(const Node& scan);
  ScanView(const Attrs&, std::span<const NodeRef> inputs);

  std::span<const NodeRef> init, xs, consts;
  const GraphRef& body;
  Dim length;
  bool reverse = false;
  int64_t checkpoint = 0;  // 0: none

  // The body's: parameters [step, carries, rows of the xs, consts], results [next carries, rows of the ys].
  std::span<const NodeRef> carry_parameters, row_parameters, const_parameters, next_carries, ys;
  const NodeRef& step() const { return body->parameters[0]; }
};

}  // namespace tenfold
