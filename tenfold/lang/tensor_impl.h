// What stands behind a Tensor handle; for the files of lang/ and the bindings, not for users.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "tenfold/lang/tensor.h"

namespace tenfold::lang {

// A function that is being traced. Parameters have its scope. It is open from enter() to leave(), on one
// thread.
struct TraceState {
  int64_t scope = 0;
  std::string what;  // "jit of step", for errors
  Location where;
  bool open = true;
  uint64_t start = 0;  // values with a smaller serial were made before
  int64_t operations = 0;
  std::map<const Node*, ValueRef> captured;  // values from outside, by the leaf that stands for them
};
using TraceRef = std::shared_ptr<TraceState>;

// States: traced (has a trace), pending (has inputs to be computed from) and concrete (has a buffer or an
// inline number). Only pending becomes concrete; the lock of tensor.cc guards what changes: expression, leaf,
// buffer, data, donated and inputs.
struct Value : std::enable_shared_from_this<Value> {
  std::shared_ptr<const Type> type;
  NodeRef expression;  // over the leaves or expressions of its inputs; of a concrete value made when it is
                       // first used
  Location where;
  TraceRef trace;  // of a traced value: the innermost function it depends on
  uint64_t serial = 0;
  bool weak = false;
  bool number_only = false;         // one element, made of plain numbers: it goes along to any device
  Device* device = nullptr;         // where it is or will be; null: the host
  std::atomic<int64_t> handles{0};  // Tensor objects, as against values that wait for this one

  NodeRef leaf;      // a parameter of its own: of a concrete value, made when it is first used
  Location donated;  // the call that took its memory; it has no value any more
  BufferRef buffer;
  void* data = nullptr;          // concrete: its elements
  std::vector<ValueRef> inputs;  // pending: what it is computed from
  bool listed = false;           // waits in the list of pending values
  int64_t pending_bytes = 0;
  Value *previous = nullptr, *next = nullptr;  // the list of pending values
  alignas(16) std::byte number[16] = {};       // the element of a plain number

  ~Value();
};

// The scope of the leaves of concrete values. Scopes of traces are others.
int64_t eager_scope();

ValueRef make_traced(NodeRef, const TraceRef&, Location, bool weak = false);
ValueRef make_pending(NodeRef, std::vector<ValueRef> inputs, Location, bool weak = false);
ValueRef make_concrete(BufferRef, void* data, std::shared_ptr<const Type>, Location);
ValueRef make_number(const Scalar&, Dtype, Location, bool weak);

bool is_concrete(const Value&);

// Where a function of these runs: where they all are. UserError if they are in several places; `what` is the
// function, for the error.
Device* common_device(std::span<Value* const>, std::string_view what, const Location&);
// The address of a concrete value for a program on the device; numbers are copied there, into `staged`.
void* address_on(Device*, const Value&, std::vector<BufferRef>& staged);

// The memory of a concrete value for a program that may write its result there; null where somebody else may
// still look at it (a view, a constant, foreign memory). After mark_donated the value is gone.
BufferRef exclusive_buffer(const Value&);
// Computes what waits and is made of this value.
void compute_readers(const Value&);
void mark_donated(Value&, Location);

// The node that stands for a value in a new operation: registers it with the traces that are open on this
// thread, and first computes one that waits since before they began. UserError if its trace has ended.
NodeRef node_for_use(const ValueRef&, const Location& user);

// The traces open on this thread, the outermost first.
std::vector<TraceRef>& open_traces();
bool tracing();
ValueRef find_captured(const TraceState&, const NodeRef& leaf);  // null if it is none

// "the value of a traced tensor was asked for ...": what a user can do instead is in the hint.
[[noreturn]] void fail_traced(const Value&, std::string_view asked, const Location& user = {},
                              std::string_view hint = {});

}  // namespace tenfold::lang
