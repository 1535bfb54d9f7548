#include "tenfold/runtime/program.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>

#include "tenfold/base/error.h"
#include "tenfold/base/fault.h"
#include "tenfold/runtime/allocator.h"
#include "tenfold/runtime/device.h"
#include "tenfold/runtime/parallel.h"

namespace tenfold {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

constexpr int64_t kReplayMost = 4096;  // calls of a program that a device is asked to keep

std::atomic<void (*)()> interrupt_check{nullptr};
thread_local Profile* current_profile = nullptr;

int64_t align_up(int64_t bytes) {
  constexpr auto kAlign = static_cast<int64_t>(kAlignment);
  return (bytes + kAlign - 1) / kAlign * kAlign;
}

// Numbers the steps in order and finds the first and the last one that touches each slot. A slot that a loop
// shares with what is outside it, or carries from one iteration to the next, lives as long as the loop.
class Liveness {
 public:
  explicit Liveness(size_t slots) : first(slots, -1), last(slots, -1) {}

  std::vector<int> first, last;

  void walk(const std::vector<ProgramStep>& steps) {
    for (const ProgramStep& step : steps) {
      if (const auto* launch = std::get_if<LaunchStep>(&step.what)) {
        for (int slot : launch->buffers) touch(slot, position_);
        ++position_;
      } else if (const auto* copy = std::get_if<CopyStep>(&step.what)) {
        touch(copy->from, position_);
        touch(copy->to, position_);
        for (const auto& start : copy->starts) touch(start.slot, position_);
        ++position_;
      } else {
        walk(*std::get<std::shared_ptr<RepeatStep>>(step.what));
      }
    }
  }

 private:
  void touch(int slot, int position) {
    if (slot < 0) return;
    if (first[slot] < 0) first[slot] = position;
    last[slot] = std::max(last[slot], position);
  }

  void walk(const RepeatStep& repeat) {
    const int begin = position_++;
    Liveness inside(first.size());
    inside.position_ = position_;
    inside.walk(repeat.condition);
    inside.walk(repeat.body);
    inside.widen();
    const int end = position_ = inside.position_;
    ++position_;
    std::vector<bool> whole(first.size(), false);
    const auto keep = [&](int slot) {
      if (slot >= 0) whole[slot] = true;
    };
    keep(repeat.step);
    keep(repeat.go);
    for (const auto& carry : repeat.carries) keep(carry.init), keep(carry.value), keep(carry.next);
    for (const auto& slice : repeat.slices) keep(slice.whole);
    for (size_t slot = 0; slot < first.size(); ++slot) {
      const bool used = inside.first[slot] >= 0;
      if (!used && !whole[slot]) continue;
      // Written before the loop and read in it: alive to its end. (Read after it: the later touch says so.)
      if (whole[slot] || first[slot] >= 0) {
        touch(static_cast<int>(slot), begin);
        touch(static_cast<int>(slot), end);
      } else {
        touch(static_cast<int>(slot), inside.first[slot]);
        touch(static_cast<int>(slot), inside.last[slot]);
      }
      loops_.push_back({static_cast<int>(slot), begin, end});
    }
  }

 public:
  // A slot of a loop's body that is read after the loop lives to the loop's end and beyond.
  void widen() {
    for (const auto& [slot, begin, end] : loops_)
      if (first[slot] < begin || last[slot] > end) {
        first[slot] = std::min(first[slot], begin);
        last[slot] = std::max(last[slot], end);
      }
  }

 private:
  struct InLoop {
    int slot, begin, end;
  };
  std::vector<InLoop> loops_;
  int position_ = 0;
};

// Parts of other buffers take no memory of their own.
void mark_parts(const std::vector<ProgramStep>& steps, std::vector<bool>& part) {
  for (const ProgramStep& step : steps)
    if (const auto* repeat = std::get_if<std::shared_ptr<RepeatStep>>(&step.what)) {
      for (const auto& slice : (*repeat)->slices) part[slice.part] = true;
      mark_parts((*repeat)->condition, part);
      mark_parts((*repeat)->body, part);
    }
}

// What a launch hands to each of its threads.
struct Ranges {
  const LaunchStep* launch;
  void* const* buffers;
  const int64_t* symbols;
  int64_t offset;
};

void run_range(void* context, int64_t begin, int64_t end) {
  const auto& r = *static_cast<const Ranges*>(context);
  const Code& code = r.launch->code;
  void* scratch = code.scratch_bytes > 0 ? thread_scratch(code.scratch_bytes) : nullptr;
  code.function(r.buffers, r.symbols, r.offset + begin, r.offset + end, scratch);
}

}  // namespace

void set_interrupt_check(void (*check)()) { interrupt_check = check; }

Profile::Profile() : outer_(current_profile) { current_profile = this; }
Profile::~Profile() {
  if (current_profile == this) current_profile = outer_;
}
Profile* Profile::current() { return current_profile; }

void Profile::add(const std::string& name, double seconds, double bytes) {
  auto row = std::ranges::find(rows_, name, &Row::name);
  if (row == rows_.end()) row = rows_.insert(row, Row{name, 0, 0, 0});
  ++row->runs;
  row->seconds += seconds;
  row->bytes += bytes;
}

int64_t Profile::launches() const {
  int64_t sum = 0;
  for (const Row& row : rows_) sum += row.runs;
  return sum;
}

std::string Profile::str() const {
  std::vector<Row> rows = rows_;
  std::ranges::stable_sort(rows, std::greater{}, &Row::seconds);
  std::string out = "launch                            runs   seconds      bytes     GB/s\n";
  for (const Row& row : rows)
    out += fmt::format("{:<32} {:>5} {:>9.3g} {:>10.4g} {:>8.3g}\n", row.name, row.runs, row.seconds,
                       row.bytes, row.seconds > 0 ? row.bytes / row.seconds / 1e9 : 0.0);
  return out;
}

// One call of a program.
struct Program::Run {
  const Program& program;
  std::span<const int64_t> symbols;
  const Layout& layout;
  std::vector<void*> address;  // of every slot, as it is named now
  std::map<std::string, int64_t> bindings;
  Clock::time_point checked = Clock::now();

  int64_t evaluate(const Dim& dim) const { return dim.is_const() ? dim.value() : dim.evaluate(bindings); }

  void check_interrupt() {
    auto* check = interrupt_check.load(std::memory_order_relaxed);
    if (!check || seconds_since(checked) < kPieceSeconds) return;
    check();
    checked = Clock::now();
  }

  // Calls of the device, if how they go is known before they run; otherwise more than kReplayMost.
  int64_t calls(const std::vector<ProgramStep>& steps) const {
    int64_t sum = 0;
    for (const ProgramStep& step : steps) {
      ++sum;
      if (const auto* copy = std::get_if<CopyStep>(&step.what)) {
        if (std::ranges::any_of(copy->starts, [](const auto& start) { return start.slot >= 0; }))
          return kReplayMost + 1;
      } else if (const auto* repeat = std::get_if<std::shared_ptr<RepeatStep>>(&step.what)) {
        const RepeatStep& r = **repeat;
        const int64_t trips = r.go >= 0 ? kReplayMost + 1 : std::min(evaluate(r.length), kReplayMost + 1);
        sum += trips * (1 + calls(r.body));
      }
      if (sum > kReplayMost) return sum;
    }
    return sum;
  }

  void run(const std::vector<ProgramStep>& steps) {
    for (const ProgramStep& step : steps) {
      if (const auto* launch = std::get_if<LaunchStep>(&step.what))
        run(*launch);
      else if (const auto* copy = std::get_if<CopyStep>(&step.what))
        run(*copy);
      else
        run(*std::get<std::shared_ptr<RepeatStep>>(step.what));
    }
  }

  void copy(void* to, const void* from, int64_t bytes) const {
    if (program.device_)
      program.device_->copy(to, from, static_cast<size_t>(bytes));
    else
      std::memcpy(to, from, static_cast<size_t>(bytes));
  }
  int64_t number_in(int slot) const {  // of an i64[]
    int64_t value = 0;
    if (program.device_)
      program.device_->to_host(&value, address[slot], sizeof value);
    else
      std::memcpy(&value, address[slot], sizeof value);
    return value;
  }
  void set_number(int slot, int64_t value) const {
    if (program.device_)
      program.device_->set(address[slot], value);
    else
      std::memcpy(address[slot], &value, sizeof value);
  }

  void move(int from, int to) {
    if (address[from] != address[to]) copy(address[to], address[from], layout.bytes[to]);
  }

  void run(const CopyStep& copy) {
    if (copy.starts.empty()) {
      move(copy.from, copy.to);
      return;
    }
    const size_t rank = copy.shape.size();
    std::vector<int64_t> box(rank), pitch(rank);  // elements, bytes
    auto* to = static_cast<std::byte*>(address[copy.to]);
    int64_t step = copy.element, row = copy.element;  // row: bytes that lie together in both
    size_t outer = 0;                                 // dimensions of rows
    bool whole = true;
    for (size_t d = rank; d-- > 0;) {
      const int64_t extent = evaluate(copy.shape[d]);
      box[d] = evaluate(copy.box[d]);
      pitch[d] = step;
      int64_t start = copy.starts[d].value;
      if (copy.starts[d].slot >= 0) start = number_in(copy.starts[d].slot);
      to += std::clamp<int64_t>(start, 0, extent - box[d]) * step;
      if (whole)
        row *= box[d];
      else
        ++outer;
      whole = whole && box[d] == extent;
      step *= extent;
    }
    int64_t rows = row > 0 ? 1 : 0;
    for (size_t d = 0; d < outer; ++d) rows *= box[d];
    const auto* from = static_cast<const std::byte*>(address[copy.from]);
    for (int64_t k = 0; k < rows; ++k, from += row) {
      int64_t offset = 0, rest = k;
      for (size_t d = outer; d-- > 0; rest /= box[d]) offset += rest % box[d] * pitch[d];
      this->copy(to + offset, from, row);
    }
  }

  void run(const LaunchStep& launch) {
    constexpr size_t kFew = 16;
    void* few_buffers[kFew];
    int64_t few_symbols[kFew];
    std::vector<void*> many_buffers;
    std::vector<int64_t> many_symbols;
    void** buffers = few_buffers;
    int64_t* values = few_symbols;
    if (launch.buffers.size() > kFew)
      many_buffers.resize(launch.buffers.size()), buffers = many_buffers.data();
    if (launch.code.symbols.size() > kFew)
      many_symbols.resize(launch.code.symbols.size()), values = many_symbols.data();
    for (size_t i = 0; i < launch.buffers.size(); ++i) buffers[i] = address[launch.buffers[i]];
    for (size_t i = 0; i < launch.code.symbols.size(); ++i) values[i] = bindings.at(launch.code.symbols[i]);

    const int64_t blocks = evaluate(launch.blocks);
    if (blocks <= 0) return;
    Ranges ranges{&launch, buffers, values, 0};
    Profile* profile = current_profile;
    const auto start = profile ? Clock::now() : Clock::time_point();
    if (Device* device = program.device_) {
      device->launch(launch.code, buffers, values, 0, blocks);
      if (profile) device->synchronize(), profile->add(launch.name, seconds_since(start), launch.bytes);
      return;
    }
    const auto pieces = std::clamp(static_cast<int64_t>(launch.seconds / kPieceSeconds), int64_t{1},
                                   std::max<int64_t>(1, blocks / thread_count()));
    for (int64_t piece = 0; piece < pieces; ++piece) {
      if (piece > 0) check_interrupt();
      ranges.offset = blocks * piece / pieces;
      const int64_t count = blocks * (piece + 1) / pieces - ranges.offset;
      if (launch.serial)
        run_range(&ranges, 0, count);
      else
        parallel_ranges(count, run_range, &ranges,
                        launch.uneven ? launch.seconds / static_cast<double>(pieces) : 0);
    }
    if (profile) profile->add(launch.name, seconds_since(start), launch.bytes);
  }

  bool any(int slot) const {
    std::vector<uint8_t> fetched;
    const auto* flags = static_cast<const uint8_t*>(address[slot]);
    if (program.device_) {
      fetched.resize(static_cast<size_t>(layout.bytes[slot]));
      program.device_->to_host(fetched.data(), flags, fetched.size());
      flags = fetched.data();
    }
    return std::any_of(flags, flags + layout.bytes[slot], [](uint8_t flag) { return flag != 0; });
  }

  void run(const RepeatStep& repeat) {
    const bool is_while = repeat.go >= 0;
    const int64_t length = is_while ? 0 : evaluate(repeat.length);
    std::vector<void*> home_value, home_next;
    for (const auto& carry : repeat.carries) {
      home_value.push_back(address[carry.value]);
      home_next.push_back(address[carry.next]);
    }
    std::vector<std::byte*> wholes;
    for (const auto& slice : repeat.slices) wholes.push_back(static_cast<std::byte*>(address[slice.whole]));

    // The first iteration reads the initial carries where they are; of a counted loop the last one writes
    // home.
    for (size_t i = 0; i < repeat.carries.size(); ++i) {
      const auto& carry = repeat.carries[i];
      if (carry.value == carry.next) {
        move(carry.init, carry.value);
        continue;
      }
      address[carry.value] = address[carry.init];
      if (length % 2 != 0) address[carry.next] = home_value[i];
    }
    for (int64_t trip = 0; is_while || trip < length; ++trip) {
      const int64_t index = repeat.reverse ? length - 1 - trip : trip;
      if (repeat.step >= 0) set_number(repeat.step, index);
      for (size_t i = 0; i < repeat.slices.size(); ++i)
        address[repeat.slices[i].part] = wholes[i] + index * layout.bytes[repeat.slices[i].part];
      if (is_while) {
        run(repeat.condition);
        if (!any(repeat.go)) break;
      }
      check_interrupt();
      run(repeat.body);
      for (size_t i = 0; i < repeat.carries.size(); ++i) {
        const auto& carry = repeat.carries[i];
        if (carry.value == carry.next) continue;
        address[carry.value] = address[carry.next];
        address[carry.next] = address[carry.value] == home_value[i] ? home_next[i] : home_value[i];
      }
    }
    for (size_t i = 0; i < repeat.carries.size(); ++i) {
      const auto& carry = repeat.carries[i];
      if (carry.value == carry.next) continue;
      void* const last = address[carry.value];
      address[carry.value] = home_value[i];
      address[carry.next] = home_next[i];
      if (last != home_value[i]) copy(home_value[i], last, layout.bytes[carry.value]);
    }
  }
};

Program::Program(std::vector<Slot> slots, std::vector<ProgramStep> steps, std::vector<std::string> symbols,
                 Device* device)
    : slots_(std::move(slots)), steps_(std::move(steps)), symbols_(std::move(symbols)), device_(device) {
  Liveness live(slots_.size());
  live.walk(steps_);
  live.widen();
  std::vector<bool> part(slots_.size(), false);
  mark_parts(steps_, part);
  for (size_t i = 0; i < slots_.size(); ++i) {
    const Slot& slot = slots_[i];
    alive_.push_back(part[i] ? Interval{} : Interval{live.first[i], live.last[i]});
    if (slot.kind == Slot::Kind::temporary) continue;
    auto& table = slot.kind == Slot::Kind::input ? input_slots_ : output_slots_;
    if (static_cast<int>(table.size()) <= slot.index) table.resize(slot.index + 1, -1);
    TENFOLD_CHECK(table[slot.index] < 0, "two buffers stand for argument or result {}", slot.index);
    table[slot.index] = static_cast<int>(i);
  }
  for (size_t i = 0; i < output_slots_.size(); ++i)
    TENFOLD_CHECK(output_slots_[i] >= 0, "result {} has no buffer", i);
  if (symbols_.empty()) fixed_layout_ = layout({});
}

Program::~Program() = default;

// First fit by falling size: temporaries whose lives do not meet share memory.
std::shared_ptr<const Program::Layout> Program::layout(std::span<const int64_t> symbols) const {
  if (fixed_layout_) return fixed_layout_;
  {
    const std::lock_guard lock(mutex_);
    if (last_layout_ && std::ranges::equal(last_symbols_, symbols)) return last_layout_;
  }
  std::map<std::string, int64_t> bindings;
  for (size_t i = 0; i < symbols_.size(); ++i) bindings[symbols_[i]] = symbols[i];

  auto made = std::make_shared<Layout>();
  made->offsets.assign(slots_.size(), -1);
  std::vector<int> order;
  for (size_t i = 0; i < slots_.size(); ++i) {
    const Dim& bytes = slots_[i].bytes;
    made->bytes.push_back(bytes.is_const() ? bytes.value() : bytes.evaluate(bindings));
    if (slots_[i].kind == Slot::Kind::temporary && alive_[i].last >= 0) order.push_back(static_cast<int>(i));
  }
  std::ranges::stable_sort(order, [&](int a, int b) { return made->bytes[a] > made->bytes[b]; });
  std::vector<int> placed;  // by offset
  for (int slot : order) {
    const int64_t bytes = align_up(std::max<int64_t>(made->bytes[slot], 1));
    int64_t at = 0;
    for (int other : placed) {
      const int margin = fault("runtime_reuse") ? 1 : 0;  // steps
      if (alive_[other].last < alive_[slot].first + margin ||
          alive_[slot].last < alive_[other].first + margin)
        continue;
      if (made->offsets[other] >= at + bytes) break;
      at = std::max(at, made->offsets[other] + align_up(std::max<int64_t>(made->bytes[other], 1)));
    }
    made->offsets[slot] = at;
    made->total = std::max(made->total, at + bytes);
    placed.insert(std::ranges::upper_bound(placed, at, {}, [&](int other) { return made->offsets[other]; }),
                  slot);
  }
  const std::lock_guard lock(mutex_);
  last_symbols_.assign(symbols.begin(), symbols.end());
  last_layout_ = made;
  return made;
}

void Program::run(std::span<void* const> inputs, std::span<const int64_t> symbols,
                  std::span<BufferRef> outputs) const {
  TENFOLD_CHECK(symbols.size() == symbols_.size(), "{} symbols were given, the program has {}",
                symbols.size(), symbols_.size());
  TENFOLD_CHECK(inputs.size() >= input_slots_.size() && outputs.size() == output_slots_.size(),
                "{} inputs and {} outputs were given, the program has {} and {}", inputs.size(),
                outputs.size(), input_slots_.size(), output_slots_.size());
  const auto where = fixed_layout_ ? fixed_layout_ : layout(symbols);
  Run run{*this, symbols, *where, std::vector<void*>(slots_.size()), {}};
  for (size_t i = 0; i < symbols_.size(); ++i) run.bindings[symbols_[i]] = symbols[i];
  for (size_t i = 0; i < input_slots_.size(); ++i)
    if (input_slots_[i] >= 0) run.address[input_slots_[i]] = inputs[i];
  for (size_t i = 0; i < outputs.size(); ++i) {
    const int slot = output_slots_[i];
    if (!outputs[i]) outputs[i] = std::make_shared<Buffer>(static_cast<size_t>(where->bytes[slot]), device_);
    run.address[slot] = outputs[i]->data();
  }
  BufferRef workspace;
  if (where->total > 0) {
    workspace = std::make_shared<Buffer>(static_cast<size_t>(where->total), device_);
    for (size_t i = 0; i < slots_.size(); ++i)
      if (where->offsets[i] >= 0) run.address[i] = workspace->data() + where->offsets[i];
  }
  const int64_t calls = device_ && !current_profile ? run.calls(steps_) : 0;
  if (calls < 2 || calls > kReplayMost) return run.run(steps_);
  std::vector<int64_t> key(symbols.begin(), symbols.end());
  for (void* address : run.address) key.push_back(reinterpret_cast<int64_t>(address));
  device_->replay(replay_, key, [&] { Run(run).run(steps_); });
}

}  // namespace tenfold
