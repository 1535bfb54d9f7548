#include "tenfold/lang/tensor.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <mutex>
#include <unordered_map>
#include <unordered_set>

#include "tenfold/base/knobs.h"
#include "tenfold/compile/compile.h"
#include "tenfold/ir/build.h"
#include "tenfold/lang/tensor_impl.h"
#include "tenfold/runtime/device.h"
#include "tenfold/target/devices.h"

namespace tenfold::lang {
namespace {

struct Pending {
  std::mutex mutex;  // guards every value's leaf, buffer, data and inputs, and the list
  Value* first = nullptr;
  PendingStatistics statistics;
};

Pending& pending() {
  static auto* const instance = new Pending;
  return *instance;
}

std::atomic<uint64_t> next_serial{1};
std::atomic<int64_t> next_leaf{0};

NodeRef fresh_leaf(const Type& type) { return build::parameter(next_leaf.fetch_add(1), type, eager_scope()); }

void unlink(Pending& p, Value& v) {  // under the lock
  if (!std::exchange(v.listed, false)) return;
  (v.previous ? v.previous->next : p.first) = v.next;
  if (v.next) v.next->previous = v.previous;
  v.previous = v.next = nullptr;
  --p.statistics.nodes;
  p.statistics.bytes -= v.pending_bytes;
}

// Releases values without recursion: a chain of waiting operations may be long.
void release_all(std::vector<ValueRef> values) {
  static thread_local std::vector<ValueRef>* draining = nullptr;
  if (draining) {
    for (ValueRef& v : values) draining->push_back(std::move(v));
    return;
  }
  draining = &values;
  while (!values.empty()) {
    const ValueRef dead = std::move(values.back());
    values.pop_back();
  }
  draining = nullptr;
}

int64_t bytes_of(const Type& type) { return volume(type.shape).value() * size_of(type.dtype); }

// The graph of some pending values over the concrete values they are computed from.
struct Cut {
  Graph graph;
  std::vector<ValueRef> arguments;
};

class CutBuilder {
 public:
  // What concrete values are known by: their expressions (used while they waited) and their leaves.
  void add(const ValueRef& value) {
    if (value->expression) known_.emplace(value->expression.get(), value);
    if (value->leaf) known_.emplace(value->leaf.get(), value);
  }

  Cut build(const std::vector<ValueRef>& roots) {
    Cut cut;
    for (const ValueRef& root : roots) cut.graph.results.push_back(copy(root->expression, cut));
    return cut;
  }

 private:
  NodeRef copy(const NodeRef& root, Cut& cut) {
    struct Visit {
      NodeRef node;
      size_t next;
    };
    std::vector<Visit> stack{{root, 0}};
    while (!stack.empty()) {
      auto& [node, next] = stack.back();
      if (next == 0) {
        if (done_.contains(node.get())) {
          stack.pop_back();
          continue;
        }
        if (const auto known = known_.find(node.get()); known != known_.end()) {
          auto [at, is_new] = argument_of_.try_emplace(known->second.get(), cut.arguments.size());
          if (is_new) {
            cut.arguments.push_back(known->second);
            cut.graph.parameters.push_back(build::parameter(at->second, node->type()));
          }
          done_.emplace(node.get(), cut.graph.parameters[at->second]);
          stack.pop_back();
          continue;
        }
        TENFOLD_CHECK(node->prim->name != "parameter", "a tensor that a waiting operation needs is gone");
      }
      if (next < node->inputs.size()) {
        NodeRef input = node->inputs[next++];
        stack.push_back({std::move(input), 0});
        continue;
      }
      Nodes inputs;
      for (const NodeRef& input : node->inputs) inputs.push_back(done_.at(input.get()));
      done_.emplace(node.get(),
                    inputs == node->inputs ? node : make(*node->prim, std::move(inputs), node->attrs));
      stack.pop_back();
    }
    return done_.at(root.get());
  }

  std::unordered_map<const Node*, ValueRef> known_;
  std::unordered_map<const Value*, size_t> argument_of_;
  std::unordered_map<const Node*, NodeRef> done_;
};

[[noreturn]] void fail_donated(const Value& value) {
  user_error(
      "the tensor {} (from {}) was donated at {}: its memory holds that call's result now.\n"
      "  Use the result, or leave the argument out of donate.",
      value.type->str(), value.where.str(), value.donated.str());
}

// Runs what `wanted` needs, all on one device. Values on the way that a Tensor still holds are results too,
// so that no work is done twice.
void run_pending_on(Device* device, const std::vector<ValueRef>& wanted) {
  std::vector<ValueRef> roots;
  CutBuilder builder;
  std::vector<ValueRef> arguments_held;  // keeps buffers alive until the run is over
  {
    const std::lock_guard lock(pending().mutex);
    std::unordered_set<const Value*> seen;
    std::vector<ValueRef> stack(wanted.rbegin(), wanted.rend());
    const std::unordered_set<const Value*> asked = [&] {
      std::unordered_set<const Value*> set;
      for (const ValueRef& v : wanted) set.insert(v.get());
      return set;
    }();
    while (!stack.empty()) {
      const ValueRef value = std::move(stack.back());
      stack.pop_back();
      if (!seen.insert(value.get()).second) continue;
      if (value->donated.file) fail_donated(*value);
      if (value->data) {
        builder.add(value);
        arguments_held.push_back(value);
        continue;
      }
      const bool here = value->device == device;  // numbers that go along need no buffer
      if (asked.contains(value.get()) || (here && value->handles.load() > 0)) roots.push_back(value);
      for (const ValueRef& input : value->inputs) stack.push_back(input);
    }
  }
  if (roots.empty()) return;
  std::ranges::sort(roots, {}, &Value::serial);  // the same order for the same program

  Cut cut = builder.build(roots);
  compile::Options options;
  if (device) options.device = device->name();
  const auto executable = compile::compile(cut.graph, options);
  std::vector<void*> inputs;
  std::vector<BufferRef> staged;
  for (const ValueRef& argument : cut.arguments) inputs.push_back(address_on(device, *argument, staged));
  std::vector<BufferRef> outputs(roots.size());
  try {
    executable->run(inputs, {}, outputs);
  } catch (const DeviceError& error) {
    const auto bytes = [](const ValueRef& v) { return bytes_of(*v->type); };
    const Value& largest = **std::ranges::max_element(roots, {}, bytes);
    throw DeviceError(fmt::format("{}.\n  The largest result is {}, made at {}.", error.what(),
                                  largest.type->str(), largest.where.str()));
  }

  std::vector<ValueRef> unneeded;
  {
    Pending& p = pending();
    const std::lock_guard lock(p.mutex);
    for (size_t i = 0; i < roots.size(); ++i) {
      Value& value = *roots[i];
      if (value.data) continue;  // another thread was quicker
      unlink(p, value);
      value.buffer = outputs[i];
      value.data = outputs[i]->data();
      for (ValueRef& input : value.inputs) unneeded.push_back(std::move(input));
      value.inputs.clear();
    }
  }
  release_all(std::move(unneeded));
}

void run_pending(const std::vector<ValueRef>& wanted) {
  const auto elsewhere = [&](const ValueRef& v) { return v->device != wanted.front()->device; };
  if (wanted.empty() || std::ranges::none_of(wanted, elsewhere))
    return wanted.empty() ? void() : run_pending_on(wanted.front()->device, wanted);
  std::map<Device*, std::vector<ValueRef>> by_device;
  for (const ValueRef& v : wanted) by_device[v->device].push_back(v);
  for (const auto& [device, values] : by_device) run_pending_on(device, values);
}

struct Bounds {
  int64_t nodes = knob_int("TENFOLD_PENDING_NODES");
  int64_t bytes = knob_int("TENFOLD_PENDING_BYTES");
};

void run_if_too_much_waits() {
  static const Bounds bounds;
  std::vector<ValueRef> all;
  {
    Pending& p = pending();
    const std::lock_guard lock(p.mutex);
    if (p.statistics.nodes <= bounds.nodes && p.statistics.bytes <= bounds.bytes) return;
  }
  all = [] {
    Pending& p = pending();
    const std::lock_guard lock(p.mutex);
    std::vector<ValueRef> held;
    for (Value* v = p.first; v; v = v->next)
      if (v->handles.load() > 0)
        if (ValueRef alive = v->weak_from_this().lock()) held.push_back(std::move(alive));
    return held;
  }();
  std::ranges::sort(all, {}, &Value::serial);
  if (all.empty()) return;
  try {
    run_pending(all);
  } catch (const Error&) {  // nobody asked for them yet: what cannot be had is told to who does
    for (const ValueRef& value : all) try {
        run_pending({value});
      } catch (const Error&) {
        Pending& p = pending();
        const std::lock_guard lock(p.mutex);
        unlink(p, *value);
      }
  }
}

void force(const ValueRef& value) {
  if (value->trace) fail_traced(*value, "its value");
  {
    const std::lock_guard lock(pending().mutex);
    if (value->donated.file) fail_donated(*value);
    if (value->data) return;
  }
  run_pending({value});
}

std::string element_text(const Scalar& s) { return s.is_f64() ? fmt::format("{:.6g}", s.f()) : s.str(); }

// As NumPy lays arrays out: a line for each row, columns one under another, long axes shortened.
std::string elements_text(const Tensor& t, size_t indent) {
  const Tensor host = t.to("cpu");
  const auto* bytes = static_cast<const std::byte*>(host.data());
  const Ints shape = const_shape(t.shape());
  constexpr int64_t kEnds = 3;  // elements shown at each end of a long axis
  size_t width = 0;
  const auto show = [&](auto&& self, size_t axis, int64_t offset) -> std::string {
    if (axis == shape.size()) {
      std::string text = element_text(Scalar::load(t.dtype(), bytes + offset * size_of(t.dtype())));
      if (shape.size() > 1) width = std::max(width, text.size());
      return fmt::format("{:>{}}", text, width);
    }
    int64_t stride = 1;
    for (size_t d = axis + 1; d < shape.size(); ++d) stride *= shape[d];
    const size_t below = shape.size() - 1 - axis;  // axes
    const std::string next =
        below ? "," + std::string(below, '\n') + std::string(indent + axis + 1, ' ') : std::string(", ");
    std::string out = "[";
    for (int64_t i = 0; i < shape[axis]; ++i) {
      if (i > 0) out += next;
      if (shape[axis] > 4 * kEnds && i == kEnds) {
        out += "...";
        i = shape[axis] - kEnds - 1;
        continue;
      }
      out += self(self, axis + 1, offset + i * stride);
    }
    return out + "]";
  };
  if (shape.size() > 1) show(show, 0, 0);  // measures the columns
  return show(show, 0, 0);
}

}  // namespace

std::string Location::str() const {
  if (!file || !*file) return "";
  const char* slash = std::strrchr(file, '/');
  return fmt::format("{}:{}", slash ? slash + 1 : file, line);
}

int64_t eager_scope() {
  static const int64_t scope = build::fresh_scope();
  return scope;
}

Value::~Value() {
  if (listed) {
    Pending& p = pending();
    const std::lock_guard lock(p.mutex);
    unlink(p, *this);
  }
  if (!inputs.empty()) release_all(std::move(inputs));
}

bool is_concrete(const Value& value) {
  const std::lock_guard lock(pending().mutex);
  return value.data != nullptr;
}

BufferRef exclusive_buffer(const Value& value) {
  const std::lock_guard lock(pending().mutex);
  const bool mine = value.buffer && !value.buffer->foreign() && value.buffer.use_count() == 1;
  return mine ? value.buffer : nullptr;
}

void compute_readers(const Value& value) {
  std::vector<ValueRef> held;
  {
    Pending& p = pending();
    const std::lock_guard lock(p.mutex);
    if (!p.first) return;
    std::vector<const Value*> waiting;
    for (const Value* v = p.first; v; v = v->next) waiting.push_back(v);
    std::ranges::sort(waiting, {}, &Value::serial);  // inputs first
    std::unordered_set<const Value*> readers{&value};
    for (const Value* v : waiting)
      if (std::ranges::any_of(v->inputs, [&](const ValueRef& i) { return readers.contains(i.get()); })) {
        readers.insert(v);
        if (v->handles.load() > 0)
          if (auto alive = const_cast<Value*>(v)->weak_from_this().lock()) held.push_back(std::move(alive));
      }
  }
  if (!held.empty()) run_pending(held);
}

void mark_donated(Value& value, Location where) {
  const std::lock_guard lock(pending().mutex);
  value.donated = where.file ? where : Location("<unknown>", 0);
  value.buffer.reset();
  value.data = nullptr;
}

namespace {

// Where a value will be: with its inputs; what has none, where the thread creates.
void place(Value& value, const Node& node, std::span<const ValueRef> inputs, const Location& where) {
  if (tracing()) return;  // a function that is traced is nowhere yet
  const Value* placed = nullptr;
  bool numbers = !inputs.empty();
  for (const ValueRef& input : inputs) {
    if (input->number_only) continue;
    numbers = false;
    if (placed && placed->device != input->device) {
      std::vector<Value*> all;
      for (const ValueRef& v : inputs) all.push_back(v.get());
      common_device(all, node.prim->name, where);
    }
    placed = input.get();
  }
  value.number_only = numbers && node.types.size() == 1 && node.type().rank() == 0;
  value.device = placed ? placed->device : value.number_only ? nullptr : DeviceScope::current();
}

}  // namespace

Device* common_device(std::span<Value* const> values, std::string_view what, const Location& where) {
  const Value* first = nullptr;
  for (const Value* v : values) {
    if (!v || v->number_only || v->trace) continue;
    if (!first) {
      first = v;
    } else if (v->device != first->device) {
      const auto row = [](const Value& value) {
        return fmt::format("{} on {}{}", value.type->str(), device_name(value.device),
                           value.where.file ? " from " + value.where.str() : "");
      };
      user_error(
          "{}: the arguments are on two devices.\n  first   {}\n  second  {}\n{}  Copies are explicit: write "
          "x.to(\"{}\") for the second, or x.to(\"{}\") for the first.",
          what, row(*first), row(*v), where.file ? "  called at " + where.str() + "\n" : "",
          device_name(first->device), device_name(v->device));
    }
  }
  return first ? first->device : DeviceScope::current();
}

void* address_on(Device* device, const Value& value, std::vector<BufferRef>& staged) {
  if (value.device == device) return value.data;
  TENFOLD_CHECK(value.number_only && !value.device, "a value is not on {}", device_name(device));
  const auto bytes = static_cast<size_t>(bytes_of(*value.type));
  staged.push_back(std::make_shared<Buffer>(bytes, device));
  device->to_device(staged.back()->data(), value.data, bytes);
  return staged.back()->data();
}

namespace {
thread_local Device* creation_device = nullptr;

Device* device_named(std::string_view name) {
  const auto target = device_target(name);
  return target ? &target->device() : nullptr;
}
}  // namespace

DeviceScope::DeviceScope(std::string_view device) : outer_(creation_device) {
  // What a traced function creates is where it will run.
  if (!tracing()) creation_device = device_named(device);
}
DeviceScope::~DeviceScope() { creation_device = outer_; }
Device* DeviceScope::current() { return creation_device; }

std::string Tensor::device() const {
  type();
  if (traced()) return "traced";  // where the function will run
  return device_name(value_->device);
}

Tensor Tensor::to(std::string_view name, Location where) const {
  type();
  Device* const device = device_named(name);
  if (value_->device == device && !(traced() && device)) return *this;
  if (traced())
    fail_traced(*value_, "a copy to " + std::string(name), where,
                "A traced function runs where its arguments are: copy them before the call.");
  evaluate();
  const auto bytes = static_cast<size_t>(bytes_of(type()));
  auto buffer = std::make_shared<Buffer>(bytes, device);
  Device* const source = value_->device;
  if (!source) {
    device->to_device(buffer->data(), value_->data, bytes);
  } else if (!device) {
    source->to_host(buffer->data(), value_->data, bytes);
  } else {
    std::vector<std::byte> between(bytes);
    source->to_host(between.data(), value_->data, bytes);
    device->to_device(buffer->data(), between.data(), bytes);
  }
  void* const data = buffer->data();
  return Tensor(make_concrete(std::move(buffer), data, value_->type, where));
}

ValueRef make_traced(NodeRef node, const TraceRef& trace, Location where, bool weak) {
  auto value = std::make_shared<Value>();
  value->type = std::make_shared<const Type>(node->type());
  value->expression = std::move(node);
  value->trace = trace;
  value->where = where;
  value->weak = weak;
  value->serial = next_serial.fetch_add(1);
  return value;
}

ValueRef make_pending(NodeRef node, std::vector<ValueRef> inputs, Location where, bool weak) {
  auto value = std::make_shared<Value>();
  place(*value, *node, inputs, where);
  value->type = std::make_shared<const Type>(node->type());
  value->expression = std::move(node);
  value->where = where;
  value->weak = weak;
  value->serial = next_serial.fetch_add(1);
  value->inputs = std::move(inputs);
  value->pending_bytes = bytes_of(*value->type);
  {
    Pending& p = pending();
    const std::lock_guard lock(p.mutex);
    value->listed = true;
    value->next = p.first;
    if (p.first) p.first->previous = value.get();
    p.first = value.get();
    ++p.statistics.nodes;
    p.statistics.bytes += value->pending_bytes;
  }
  if (!tracing()) run_if_too_much_waits();
  return value;
}

ValueRef make_concrete(BufferRef buffer, void* data, std::shared_ptr<const Type> type, Location where) {
  auto value = std::make_shared<Value>();
  value->type = std::move(type);
  value->where = where;
  value->serial = next_serial.fetch_add(1);
  value->device = buffer ? buffer->device() : nullptr;
  value->buffer = std::move(buffer);
  value->data = data;
  return value;
}

ValueRef make_number(const Scalar& number, Dtype dtype, Location where, bool weak) {
  static const auto kTypes = [] {
    std::array<std::shared_ptr<const Type>, kDtypeCount> types;
    for (int d = 0; d < kDtypeCount; ++d)
      types[d] = std::make_shared<const Type>(Type{static_cast<Dtype>(d), {}});
    return types;
  }();
  auto value = std::make_shared<Value>();
  value->type = kTypes[static_cast<size_t>(dtype)];
  value->where = where;
  value->weak = weak;
  value->serial = next_serial.fetch_add(1);
  value->number_only = true;
  number.round_to(dtype).store(dtype, value->number);
  value->data = value->number;
  return value;
}

std::vector<TraceRef>& open_traces() {
  static thread_local std::vector<TraceRef> traces;
  return traces;
}

bool tracing() { return !open_traces().empty(); }

ValueRef find_captured(const TraceState& trace, const NodeRef& leaf) {
  const auto found = trace.captured.find(leaf.get());
  return found == trace.captured.end() ? nullptr : found->second;
}

NodeRef node_for_use(const ValueRef& value, const Location& user) {
  auto& traces = open_traces();
  if (value->trace) {
    if (value->trace->open) {
      // An inner function closes over a value of an outer one.
      for (auto inner = traces.rbegin(); inner != traces.rend() && *inner != value->trace; ++inner)
        (*inner)->captured.emplace(value->expression.get(), value);
      return value->expression;
    }
    user_error(
        "an operation{} uses a tensor that was made while {} was traced (at {}), but that trace is over: the "
        "tensor never had a "
        "value.\n  Return it from the traced function instead of storing it in a variable outside.",
        user.file ? " at " + user.str() : "", value->trace->what, value->where.str());
  }
  const bool from_outside = !traces.empty() && value->serial < traces.front()->start;
  if (from_outside) force(value);
  const std::lock_guard lock(pending().mutex);
  if (value->donated.file) fail_donated(*value);
  if (!value->data) {
    for (const TraceRef& trace : traces)
      if (value->serial < trace->start) trace->captured.emplace(value->expression.get(), value);
    return value->expression;
  }
  if (!value->leaf) value->leaf = fresh_leaf(*value->type);
  if (!value->expression) value->expression = value->leaf;
  for (const TraceRef& trace : traces) trace->captured.emplace(value->leaf.get(), value);
  return value->leaf;
}

void fail_traced(const Value& value, std::string_view asked, const Location& user, std::string_view hint) {
  const TraceState& trace = *value.trace;
  const std::string called = user.file ? fmt::format("\n  called at {}", user.str()) : "";
  if (!trace.open)
    user_error(
        "{} of a tensor was asked for that was made while {} was traced, but that trace is over: it never "
        "had a value.{}\n"
        "  tensor: {}   from {}\n  Return it from the traced function instead of keeping it in a variable "
        "outside.",
        asked, trace.what, called, value.type->str(), value.where.str());
  user_error(
      "{} of a traced tensor was asked for, but while {} is traced there are types and no values.{}\n"
      "  tensor: {}   from {}\n  {}",
      asked, trace.what, called, value.type->str(), value.where.str(),
      hint.empty() ? "Compute with it instead of looking at it, or pass it as a static argument if it is a "
                     "plain number."
                   : hint);
}

Tensor::Tensor(ValueRef value) : value_(std::move(value)) {
  if (value_) value_->handles.fetch_add(1, std::memory_order_relaxed);
}
Tensor::Tensor(const Tensor& other) : Tensor(other.value_) {}
Tensor::Tensor(Tensor&& other) noexcept : value_(std::move(other.value_)) {}
Tensor& Tensor::operator=(Tensor other) noexcept {
  std::swap(value_, other.value_);
  return *this;
}
Tensor::~Tensor() {
  if (value_) value_->handles.fetch_sub(1, std::memory_order_relaxed);
}

const Type& Tensor::type() const {
  if (!value_) user_error("an empty tensor was used: it was declared, but nothing was assigned to it");
  return *value_->type;
}
bool Tensor::traced() const { return value_ && value_->trace != nullptr; }
bool Tensor::weak() const { return value_ && value_->weak; }
Location Tensor::where() const { return value_ ? value_->where : Location(); }

const Tensor& Tensor::evaluate() const {
  type();
  force(value_);
  return *this;
}
const void* Tensor::data() const {
  evaluate();
  if (value_->device)
    user_error(
        "{} is on {}, where its elements cannot be read from here (from {}). Copy it first: .to(\"cpu\").",
        type().str(), device(), where().str());
  return value_->data;
}
BufferRef Tensor::buffer() const { return evaluate().value_->buffer; }

Scalar Tensor::item() const {
  if (traced()) fail_traced(*value_, "the value");
  if (size().value() != 1)
    user_error(
        "item reads a tensor with one element, but this is {} with {} elements (from {}). Index it first.",
        type().str(), size().value(), where().str());
  return Scalar::load(dtype(), to("cpu").data());
}

void Tensor::check_host_type(size_t bytes, bool integral, bool is_signed) const {
  const Dtype d = dtype();
  const bool fits = static_cast<int64_t>(bytes) == size_of(d) && integral == (is_int(d) || is_bool(d)) &&
                    (!is_int(d) || is_signed == is_signed_int(d)) && d != Dtype::f16 && d != Dtype::bf16 &&
                    !is_complex(d);
  if (!fits)
    user_error("to_vector: the tensor is {}, which is not the element type that was asked for", type().str());
}

std::string Tensor::str() const {
  if (!value_) return "Tensor()";
  if (traced()) return fmt::format("Tensor(traced {})", type().str());
  constexpr std::string_view kHead = "Tensor(";
  return fmt::format("{}{}, {})", kHead, elements_text(*this, kHead.size()), type().str());
}

Tensor Operand::as_tensor() const {
  if (tensor_) return tensor_;
  if (tracing()) {  // a constant of the function
    return Tensor(
        make_pending(build::constant(number_, number_.is_f64() ? Dtype::f64 : dtype()), {}, where_, true));
  }
  return Tensor(make_number(number_, number_.is_f64() ? Dtype::f64 : dtype(), where_, true));
}

Dtype Operand::dtype() const {
  if (tensor_) return tensor_.dtype();
  if (number_.is_bool()) return Dtype::boolean;
  if (number_.is_u64() && number_.u() > static_cast<uint64_t>(INT64_MAX)) return Dtype::u64;
  if (number_.is_int()) return Dtype::i64;
  return number_.is_complex() ? Dtype::complex64 : Dtype::f32;
}

Shape Operand::shape() const { return tensor_ ? tensor_.shape() : Shape{}; }

Tensor from_host(const void* elements, Dtype dtype, const Ints& shape, Location where) {
  const Type type{dtype, Shape(shape.begin(), shape.end())};
  const auto bytes = static_cast<size_t>(bytes_of(type));
  auto buffer = std::make_shared<Buffer>(bytes);
  if (bytes > 0) std::memcpy(buffer->data(), elements, bytes);
  void* data = buffer->data();
  const Tensor made(make_concrete(std::move(buffer), data, std::make_shared<const Type>(type), where));
  return DeviceScope::current() ? made.to(DeviceScope::current()->name(), where) : made;
}

Tensor from_buffer(BufferRef buffer, Dtype dtype, const Ints& shape, Location where) {
  const Type type{dtype, Shape(shape.begin(), shape.end())};
  if (static_cast<int64_t>(buffer->bytes()) < bytes_of(type))
    user_error("from_buffer: {} needs {} bytes, but the buffer has {}", type.str(), bytes_of(type),
               buffer->bytes());
  void* data = buffer->data();
  return Tensor(make_concrete(std::move(buffer), data, std::make_shared<const Type>(type), where));
}

void evaluate(const Tensors& tensors) {
  std::vector<ValueRef> wanted;
  for (const Tensor& t : tensors) {
    t.type();
    if (t.traced()) fail_traced(*t.value(), "the value");
    if (!is_concrete(*t.value())) wanted.push_back(t.value());
  }
  if (!wanted.empty()) run_pending(wanted);
}

PendingStatistics pending_statistics() {
  const std::lock_guard lock(pending().mutex);
  return pending().statistics;
}

}  // namespace tenfold::lang
