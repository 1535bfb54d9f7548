#include "tenfold/lang/jit.h"

#include <algorithm>
#include <array>

#include "tenfold/ir/build.h"
#include "tenfold/lang/function.h"
#include "tenfold/runtime/parallel.h"
#include "tenfold/runtime/program.h"
#include "tenfold/target/devices.h"

namespace tenfold::lang {
namespace {

// Every parameter that belongs to another scope stands for a value from outside.
Nodes outside_leaves(const Traced& traced) {
  Nodes out;
  for (const NodeRef& node : topological(traced.results))
    if (node->prim->has("parameter") && node->attrs.integer("scope") != traced.state->scope)
      out.push_back(node);
  return out;
}

// Captured arrays, and what is made of them; a null for what nobody reads.
using Laying = std::pair<std::vector<void*>, const compile::Executable*>;

std::vector<BufferRef> lay_all(const std::vector<Laying>& wanted) {
  std::vector<BufferRef> made(wanted.size());
  const auto one = [&](size_t k) { wanted[k].second->run(wanted[k].first, {}, {&made[k], 1}); };
  const bool on_device = !wanted.empty() && wanted[0].second->device();
  if (on_device || Profile::current()) {  // whose rows stand in an order
    for (size_t k = 0; k < wanted.size(); ++k) one(k);
    return made;
  }
  constexpr double kLong = 1;  // seconds: an array at a time, for some are longer
  parallel_ranges(
      std::ssize(wanted),
      [](void* context, int64_t begin, int64_t end) {
        for (int64_t k = begin; k < end; ++k) (*static_cast<decltype(&one)>(context))(static_cast<size_t>(k));
      },
      const_cast<void*>(static_cast<const void*>(&one)), kLong);
  return made;
}

// What layouts make of captured arrays, shared by all functions that captured one and read it in this order.
// Each of them keeps the array, so its address stands for it as long as there is what was made of it.
std::vector<BufferRef> laid_out(const std::vector<Laying>& wanted) {
  static auto* const mutex = new std::mutex;
  static auto* const known = new std::map<Laying, std::weak_ptr<Buffer>>;
  const std::lock_guard lock(*mutex);
  std::erase_if(*known, [](const auto& entry) { return entry.second.expired(); });
  std::map<Laying, BufferRef> found;  // held from here on
  std::vector<Laying> missing;
  for (const Laying& l : wanted) {
    const auto at = known->find(l);
    const auto [entry, fresh] = found.try_emplace(l, at == known->end() ? nullptr : at->second.lock());
    if (fresh && !entry->second && l.second) missing.push_back(l);
  }
  const std::vector<BufferRef> made = lay_all(missing);
  for (size_t k = 0; k < missing.size(); ++k) (*known)[missing[k]] = found[missing[k]] = made[k];
  std::vector<BufferRef> out;
  for (const Laying& l : wanted) out.push_back(found.at(l));
  return out;
}

}  // namespace

Compiled::Compiled(const Function& function, const std::vector<ArgumentType>& types,
                   const JitOptions& options, Location where)
    : name_(options.name), arguments_(types), device_(options.device) {
  Traced traced = trace(fmt::format("jit of {}", options.name), where, types, function);
  for (size_t k = 0; k < traced.results.size(); ++k)
    if (traced.weak[k] && traced.results[k]->dtype() == Dtype::f64)
      traced.results[k] = build::convert(traced.results[k], Dtype::f32);

  Graph graph;
  compile::Options compile_options;
  std::vector<std::pair<NodeRef, NodeRef>> replace;
  const auto bind_parameter = [&](const NodeRef& node) {
    graph.parameters.push_back(build::parameter(static_cast<int64_t>(replace.size()), node->type()));
    replace.emplace_back(node, graph.parameters.back());
  };
  for (const NodeRef& node : traced.parameters) bind_parameter(node);
  for (const NodeRef& leaf : outside_leaves(traced)) {
    ValueRef value = find_captured(*traced.state, leaf);
    TENFOLD_CHECK(value && value->data, "{} uses a value that is not known", options.name);
    if (!value->number_only && value->device != device_)
      user_error(
          "jit of {}: the arguments are on {}, but it uses {} on {} (from {}).\n  called at {}\n  Copies are "
          "explicit: write .to(\"{}\") where it is made.",
          options.name, device_name(device_), value->type->str(), device_name(value->device),
          value->where.str(), where.str(), device_name(device_));
    captured_data_.push_back(address_on(device_, *value, captured_copies_));
    captured_.push_back(std::move(value));
    compile_options.fixed.push_back(static_cast<int>(graph.parameters.size()));
    bind_parameter(leaf);
  }
  graph.results = build::substitute(traced.results, replace);

  compile_options.allow = options.allow;
  if (device_) compile_options.device = device_->name();
  compile_options.plan = options.plan;
  compile_options.loops = options.loops;
  std::vector<bool> taken(graph.results.size(), false);
  for (int donated : options.donate) {
    const Type& type = types.at(donated).type;
    for (size_t k = 0; k < graph.results.size(); ++k) {
      if (taken[k] || !(graph.results[k]->type() == type)) continue;
      taken[k] = true;
      compile_options.donate.emplace_back(donated, static_cast<int>(k));
      break;
    }
  }
  for (const NodeRef& result : graph.results)
    results_.push_back(std::make_shared<const Type>(result->type()));
  executable_ = compile::compile(graph, compile_options);
  has_symbols_ = !executable_->symbols().empty();
}

// At the first call: to explain a function runs nothing.
void Compiled::lay_out() const {
  std::vector<Laying> wanted;
  for (const compile::Laid& laid : executable_->laid()) {
    std::vector<void*> from;
    for (const int parameter : laid.from)
      from.push_back(captured_data_[static_cast<size_t>(parameter) - arguments_.size()]);
    wanted.emplace_back(std::move(from), laid.layout.get());
  }
  laid_ = laid_out(wanted);
}

std::vector<int64_t> Compiled::bind(std::span<const Argument> arguments, Location where) const {
  std::vector<int64_t> values;
  std::map<std::string, int64_t> bindings;
  for (const compile::SymbolSource& source : executable_->symbols()) {
    const int64_t value = arguments[source.parameter].shape[source.axis];
    const Symbol& s = source.symbol;
    if (value < s.lower || value > s.upper)
      user_error(
          "{}: the symbol {} is {} (axis {} of argument {}), but it was declared between {} and {}.\n  "
          "called at {}",
          name_, s.name, value, source.axis, source.parameter, s.lower, s.upper, where.str());
    values.push_back(value);
    bindings[s.name] = value;
  }
  for (size_t i = 0; i < arguments_.size(); ++i) {
    const Shape& shape = arguments_[i].type.shape;
    for (size_t d = 0; d < shape.size(); ++d)
      if (!shape[d].is_const() && shape[d].evaluate(bindings) != arguments[i].shape[d])
        user_error("{}: axis {} of argument {} is {}, but dims says {}, which is {} here.\n  called at {}",
                   name_, d, i, arguments[i].shape[d], shape[d].str(), shape[d].evaluate(bindings),
                   where.str());
  }
  return values;
}

Tensors Compiled::operator()(std::span<const Argument> arguments, Location where) const {
  constexpr size_t kFew = 24;
  std::call_once(laid_once_, [&] { lay_out(); });
  const size_t given = arguments.size() + captured_data_.size(), count = given + laid_.size();
  std::array<void*, kFew> few;
  std::vector<void*> many;
  void** inputs = few.data();
  if (count > kFew) many.resize(count), inputs = many.data();
  for (size_t i = 0; i < arguments.size(); ++i) inputs[i] = const_cast<void*>(arguments[i].data);
  std::ranges::copy(captured_data_, inputs + arguments.size());
  for (size_t k = 0; k < laid_.size(); ++k) inputs[given + k] = laid_[k] ? laid_[k]->data() : nullptr;
  std::vector<BufferRef> staged;
  if (device_) stage_numbers(arguments, inputs, staged);

  std::vector<int64_t> symbols;
  if (has_symbols_) symbols = bind(arguments, where);
  std::vector<BufferRef> outputs(results_.size());
  for (const auto& [parameter, result] : executable_->donated()) {
    Value* value = arguments[parameter].value;
    const auto is_same = [&](const Argument& a) { return a.data == arguments[parameter].data; };
    if (!value || std::ranges::count_if(arguments, is_same) > 1 ||
        std::ranges::count(captured_data_, value->data) > 0)
      continue;
    compute_readers(*value);
    outputs[result] = exclusive_buffer(*value);
    if (outputs[result]) mark_donated(*value, where);
  }
  executable_->run({inputs, count}, symbols, outputs);

  Tensors out;
  out.reserve(results_.size());
  std::map<std::string, int64_t> bindings;
  for (size_t i = 0; i < symbols.size(); ++i) bindings[executable_->symbols()[i].symbol.name] = symbols[i];
  for (size_t k = 0; k < results_.size(); ++k) {
    std::shared_ptr<const Type> type = results_[k];
    if (has_symbols_) {
      Type concrete{type->dtype, {}};
      for (const Dim& d : type->shape) concrete.shape.emplace_back(d.evaluate(bindings));
      type = std::make_shared<const Type>(std::move(concrete));
    }
    void* data = outputs[k]->data();
    out.emplace_back(make_concrete(std::move(outputs[k]), data, std::move(type), where));
  }
  return out;
}

// Numbers come from the host.
void Compiled::stage_numbers(std::span<const Argument> arguments, void** inputs,
                             std::vector<BufferRef>& staged) const {
  for (size_t i = 0; i < arguments.size(); ++i) {
    const Value* value = arguments[i].value;
    if (value && value->device == device_) continue;
    const Type& type = arguments_[i].type;
    TENFOLD_CHECK(type.rank() == 0, "{}: argument {} is not on {}", name_, i, device_->name());
    staged.push_back(std::make_shared<Buffer>(static_cast<size_t>(size_of(type.dtype)), device_));
    inputs[i] = staged.back()->data();
    device_->to_device(inputs[i], arguments[i].data, staged.back()->bytes());
  }
}

Device* device_of(const Tensors& tensors, std::string_view what, Location where) {
  std::vector<Value*> values;
  for (const Tensor& t : tensors) values.push_back(t.value().get());
  return common_device(values, what, where);
}

void append_signature(std::string& signature, const Device* device) {
  if (device) signature.append(1, '@').append(reinterpret_cast<const char*>(&device), sizeof device);
}

void append_signature(std::string& signature, Dtype dtype, std::span<const int64_t> shape, bool weak) {
  const char head[] = {static_cast<char>(dtype), static_cast<char>(shape.size() + (weak ? 128 : 0))};
  signature.append(head, sizeof head);
  signature.append(reinterpret_cast<const char*>(shape.data()), shape.size_bytes());
}

std::shared_ptr<const Compiled> CompiledCache::find(const std::string& signature) const {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(signature);
  return found == entries_.end() ? nullptr : found->second;
}

std::shared_ptr<const Compiled> CompiledCache::insert(std::string signature,
                                                      std::shared_ptr<const Compiled> made) {
  const std::lock_guard lock(mutex_);
  return entries_.try_emplace(std::move(signature), std::move(made)).first->second;
}

size_t CompiledCache::size() const {
  const std::lock_guard lock(mutex_);
  return entries_.size();
}

}  // namespace tenfold::lang
