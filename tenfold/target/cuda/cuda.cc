// NVIDIA's GPUs through the driver: the C emitter's text compiled by NVRTC, one stream for each device, in
// the context that CUDA's runtime uses too, so that other libraries of the process see the same memory.
//
// Addresses are the device's own. The first error of a kernel takes the context with it: the device is lost
// for the process, says so from then on, and everything else goes on.
#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <map>
#include <mutex>

#include <fmt/ranges.h>

#include "tenfold/base/error.h"
#include "tenfold/base/knobs.h"
#include "tenfold/target/ctext/target.h"
#include "tenfold/target/cuda/api.h"
#include "tenfold/target/cuda/compiler.h"

namespace tenfold::cuda {
namespace {

constexpr int64_t kWorkspaceMost = int64_t{256} << 20;  // bytes; a launch that wants more runs in pieces
constexpr int64_t kBlocksMost = int64_t{1} << 30;       // of one launch: CUDA takes 2^31 - 1
constexpr int64_t kKeptShare = 8;                       // released buffers are kept up to this part of memory
constexpr size_t kStageBytes = size_t{4} << 20;         // of pinned memory, twice
constexpr size_t kStagedLeast = size_t{64} << 10;       // smaller copies are the driver's own
constexpr size_t kNamesMost = 8;                        // of kernels that an error lists
constexpr size_t kWorkspaceRecorded = size_t{16} << 20;  // bytes that a graph may keep for one launch
constexpr size_t kGraphsMost = 4;                        // of one program: calls that take turns with buffers

// Errors of a kernel or of the machine, after which the context takes no call.
bool loses_context(Result error) {
  constexpr Result kFatal[] = {214, 220, 226, 700, 702, 709, 710, 713,
                               714, 715, 716, 717, 718, 719, 721, 999};
  return std::ranges::find(kFatal, error) != std::end(kFatal);
}

struct Facts {
  DeviceId id = 0;
  std::string name;
  int capability = 0, units = 0;
  int64_t memory = 0;
  bool pools = false;
};

const std::vector<Facts>& devices(std::string* missing = nullptr) {
  static const std::vector<Facts> all = [] {
    std::vector<Facts> found;
    const Driver* const cu = driver();
    int count = 0;
    if (!cu || cu->cuDeviceGetCount(&count) != kSuccess) return found;
    for (int i = 0; i < count; ++i) {
      Facts facts;
      if (cu->cuDeviceGet(&facts.id, i) != kSuccess) continue;
      const auto number = [&](int what) {
        int value = 0;
        cu->cuDeviceGetAttribute(&value, what, facts.id);
        return value;
      };
      char name[256] = "";
      cu->cuDeviceGetName(name, sizeof name, facts.id);
      facts.name = name;
      facts.capability = 10 * number(kMajor) + number(kMinor);
      facts.units = number(kMultiprocessors);
      facts.pools = number(kMemoryPools) != 0;
      size_t bytes = 0;
      cu->cuDeviceTotalMem(&bytes, facts.id);
      facts.memory = static_cast<int64_t>(bytes);
      found.push_back(facts);
    }
    return found;
  }();
  if (all.empty() && missing && driver(missing)) *missing = "NVIDIA's driver knows no GPU";
  return all;
}

// The thread's current context is this one while the object lives; another library's stands again after.
class Current {
 public:
  Current(const Driver& cu, Context context) : cu_(cu), pushed_(cu.cuCtxPushCurrent(context) == kSuccess) {}
  ~Current() {
    Context own = nullptr;
    if (pushed_) cu_.cuCtxPopCurrent(&own);
  }
  Current(const Current&) = delete;
  Current& operator=(const Current&) = delete;

 private:
  const Driver& cu_;
  bool pushed_;
};

Address number_of(const void* address) { return reinterpret_cast<Address>(address); }

struct Workspace {
  void* address = nullptr;
  size_t bytes = 0;
};

// What a thread's calls become while it records.
struct Recording {
  std::vector<std::string> kernels;
  std::vector<Workspace> workspaces;  // the graph's, as long as it lives
};
thread_local Recording* recording = nullptr;

class CudaDevice final : public Device {
 public:
  CudaDevice(int index, const Driver& driver, const Facts& facts)
      : cu(driver), name_(fmt::format("cuda:{}", index)), facts_(facts) {
    check(cu.cuDevicePrimaryCtxRetain(&context, facts.id), "opening it");
    const Current current(cu, context);
    check(cu.cuStreamCreate(&stream, kStreamNonBlocking), "making its stream");
    check(cu.cuStreamCreate(&recorded_, kStreamNonBlocking), "making its stream");
  }

  std::string name() const override { return name_; }

  void* allocate(size_t bytes) override {
    const size_t size = size_class(bytes);
    alive();
    const std::lock_guard lock(mutex_);
    ++statistics_.allocations;
    Address address = 0;
    if (auto kept = kept_.find(size); kept != kept_.end() && !kept->second.empty()) {
      address = kept->second.back();
      kept->second.pop_back();
      ++statistics_.reuses;
      statistics_.cached_bytes -= static_cast<int64_t>(size);
    } else {
      const Current current(cu, context);
      Result error = obtain(address, size);
      if (error == kOutOfMemory) {
        drop_kept();
        error = obtain(address, size);
      }
      if (error == kOutOfMemory)
        throw DeviceError(fmt::format(
            "{} has no memory left for a buffer of {} bytes ({} bytes are in use; {}); drop arrays that are "
            "not needed, or work in smaller batches",
            name_, bytes, statistics_.live_bytes, error_text(cu, error)));
      check(error, "an allocation");
    }
    statistics_.live_bytes += static_cast<int64_t>(size);
    statistics_.peak_bytes = std::max(statistics_.peak_bytes, statistics_.live_bytes);
    return reinterpret_cast<void*>(address);
  }

  void release(void* address, size_t bytes) noexcept override {
    if (!address) return;
    const auto size = static_cast<int64_t>(size_class(bytes));
    const std::lock_guard lock(mutex_);
    statistics_.live_bytes -= size;
    if (lost_) return;
    // The stream is in order: who gets it next comes after who has it still.
    if (statistics_.cached_bytes + size <= facts_.memory / kKeptShare) {
      kept_[static_cast<size_t>(size)].push_back(number_of(address));
      statistics_.cached_bytes += size;
    } else {
      const Current current(cu, context);
      give_back(number_of(address));
    }
  }

  // The source has been read when this returns; what follows on the stream sees the copy.
  void to_device(void* to, const void* from, size_t bytes) override {
    TENFOLD_CHECK(!recording, "a copy from the host was recorded on {}", name_);
    if (bytes == 0) return;
    alive();
    const Current current(cu, context);
    if (bytes < kStagedLeast)
      return check(cu.cuMemcpyHtoDAsync(number_of(to), from, bytes, stream), "a copy to it");
    const std::lock_guard lock(staging_);
    open_stages();
    size_t next = 0;
    for (size_t at = 0; at < bytes; at += kStageBytes, next ^= 1) {
      const Stage& stage = stages_[next];
      const size_t size = std::min(kStageBytes, bytes - at);
      check(cu.cuEventSynchronize(stage.done), "a copy to it");
      std::memcpy(stage.memory, static_cast<const char*>(from) + at, size);
      check(cu.cuMemcpyHtoDAsync(number_of(to) + at, stage.memory, size, stream), "a copy to it");
      check(cu.cuEventRecord(stage.done, stream), "a copy to it");
    }
  }

  void to_host(void* to, const void* from, size_t bytes) override {
    TENFOLD_CHECK(!recording, "a copy to the host was recorded on {}", name_);
    if (bytes == 0) return;
    alive();
    const Current current(cu, context);
    if (bytes < kStagedLeast) {
      check(cu.cuMemcpyDtoHAsync(to, number_of(from), bytes, stream), "a copy from it");
      return wait("a copy from it");
    }
    const std::lock_guard lock(staging_);
    open_stages();
    const size_t pieces = (bytes + kStageBytes - 1) / kStageBytes;
    const auto size_of_piece = [&](size_t i) { return std::min(kStageBytes, bytes - i * kStageBytes); };
    const auto start = [&](size_t i) {
      const Stage& stage = stages_[i % 2];
      check(cu.cuMemcpyDtoHAsync(stage.memory, number_of(from) + i * kStageBytes, size_of_piece(i), stream),
            "a copy from it");
      check(cu.cuEventRecord(stage.done, stream), "a copy from it");
    };
    start(0);
    for (size_t i = 0; i < pieces; ++i) {
      if (i + 1 < pieces) start(i + 1);
      check(cu.cuEventSynchronize(stages_[i % 2].done), "a copy from it");
      std::memcpy(static_cast<char*>(to) + i * kStageBytes, stages_[i % 2].memory, size_of_piece(i));
    }
    wait("a copy from it");
  }

  void copy(void* to, const void* from, size_t bytes) override {
    if (bytes == 0 || to == from) return;
    alive();
    const Current current(cu, context);
    check(cu.cuMemcpyDtoDAsync(number_of(to), number_of(from), bytes, current_stream()), "a copy on it");
  }

  // The number travels with the call: nothing of the host's is read later.
  void set(void* to, int64_t value) override {
    alive();
    const Current current(cu, context);
    const auto bits = static_cast<uint64_t>(value);
    check(cu.cuMemsetD32Async(number_of(to), static_cast<unsigned>(bits), 1, current_stream()),
          "setting a number");
    check(cu.cuMemsetD32Async(number_of(to) + 4, static_cast<unsigned>(bits >> 32), 1, current_stream()),
          "setting a number");
  }

  void replay(std::shared_ptr<void>& kept, std::span<const int64_t> key,
              const std::function<void()>& work) override;

  void launch(const Code& code, void* const* buffers, const int64_t* symbols, int64_t begin,
              int64_t end) override;

  void synchronize() override {
    alive();
    const Current current(cu, context);
    wait("synchronize");
  }

  MemoryStatistics memory() const override {
    const std::lock_guard lock(mutex_);
    return statistics_;
  }

  // `kernel`: whose fault it is; without it, those launched since the device last answered are named.
  void check(Result error, std::string_view what, std::string_view kernel = {}) const {
    if (error == kSuccess) return;
    std::string blamed(kernel);
    if (blamed.empty()) blamed = recent();
    std::string message = fmt::format("{}: {} failed with {}", name_, what, error_text(cu, error));
    if (!kernel.empty())
      message += fmt::format(", in kernel {}", blamed);
    else if (!blamed.empty())
      message += fmt::format(", after {}", blamed);
    if (loses_context(error)) {
      const std::lock_guard lock(names_);
      if (!lost_) lost_reason_ = message;
      lost_ = true;
      message += ". The device is lost to this process; the cpu goes on working";
    }
    throw DeviceError(message);
  }

  const Driver& cu;
  Context context = nullptr;
  Stream stream = nullptr;

 private:
  struct Stage {
    void* memory = nullptr;
    Event done = nullptr;
  };

  // Calls of one program, as graphs. The first one is made as it is: most programs run once.
  struct Replays {
    struct Kept {
      std::vector<int64_t> key;
      GraphExec exec = nullptr;
      Recording recording;
    };
    CudaDevice& device;
    bool can_record = true;
    std::vector<Kept> graphs;  // the last replayed comes last

    explicit Replays(CudaDevice& d) : device(d) {}
    Replays(const Replays&) = delete;
    Replays& operator=(const Replays&) = delete;
    ~Replays();
    void drop(Kept&) noexcept;
    bool record(std::span<const int64_t> key, const std::function<void()>& work);
  };

  Stream current_stream() const { return recording ? recorded_ : stream; }

  // Of a launch; what is recorded keeps it.
  Workspace workspace(size_t bytes) {
    if (!recording) return {allocate(bytes), bytes};
    for (const Workspace& w : recording->workspaces)
      if (w.bytes >= bytes) return w;  // one launch after the other
    if (bytes > kWorkspaceRecorded) throw DeviceError("a workspace that is too large for a graph to keep");
    return recording->workspaces.emplace_back(Workspace{allocate(bytes), bytes});
  }

  void launched(const std::string& kernel) {
    if (recording) return recording->kernels.push_back(kernel);
    const std::lock_guard lock(names_);
    std::erase(recent_, kernel);
    if (recent_.size() == kNamesMost) recent_.erase(recent_.begin());
    recent_.push_back(kernel);
    ++launches_;
  }

  void alive() const {
    if (!lost_) return;
    const std::lock_guard lock(names_);
    throw DeviceError(
        fmt::format("{} is lost to this process since an earlier error; start it anew to use it. "
                    "The error was: {}",
                    name_, lost_reason_));
  }

  void wait(std::string_view what) {
    check(cu.cuStreamSynchronize(stream), what);
    const std::lock_guard lock(names_);
    recent_.clear();
    launches_ = 0;
  }

  std::string recent() const {
    const std::lock_guard lock(names_);
    if (recent_.empty()) return "";
    if (launches_ == 1) return "kernel " + recent_[0];
    return fmt::format("{} launches, the last of kernels {}; CUDA_LAUNCH_BLOCKING=1 finds which", launches_,
                       fmt::join(recent_, ", "));
  }

  Result obtain(Address& address, size_t size) {
    return facts_.pools ? cu.cuMemAllocAsync(&address, size, stream) : cu.cuMemAlloc(&address, size);
  }
  void give_back(Address address) {
    if (facts_.pools)
      cu.cuMemFreeAsync(address, stream);
    else
      cu.cuMemFree(address);  // waits for the device
  }
  void drop_kept() {
    for (const auto& [size, list] : kept_)
      for (const Address address : list) give_back(address);
    kept_.clear();
    statistics_.cached_bytes = 0;
    cu.cuStreamSynchronize(stream);  // the pool has them back
  }

  void open_stages() {
    for (Stage& stage : stages_) {
      if (!stage.memory) check(cu.cuMemAllocHost(&stage.memory, kStageBytes), "pinning host memory");
      if (!stage.done) check(cu.cuEventCreate(&stage.done, kEventDisableTiming), "making an event");
    }
  }

  std::string name_;
  Facts facts_;
  mutable std::mutex mutex_;  // guards what follows
  std::map<size_t, std::vector<Address>> kept_;
  MemoryStatistics statistics_;

  std::mutex staging_;  // guards the stages
  std::array<Stage, 2> stages_;

  std::mutex replaying_;  // guards the stream that records, and all graphs
  Stream recorded_ = nullptr;

  mutable std::mutex names_;  // guards what follows
  std::vector<std::string> recent_;
  int64_t launches_ = 0;  // since the device last answered
  mutable std::string lost_reason_;
  mutable std::atomic<bool> lost_ = false;
};

struct LoadedModule {
  CudaDevice& device;
  Module handle = nullptr;
  ~LoadedModule() {
    if (!handle) return;
    const Current current(device.cu, device.context);
    device.cu.cuStreamSynchronize(device.stream);  // its kernels may still run
    device.cu.cuModuleUnload(handle);
  }
};

struct LoadedKernel {
  std::shared_ptr<LoadedModule> module;
  FunctionHandle handle = nullptr;
  ctext::Function function;
};

void CudaDevice::launch(const Code& code, void* const* buffers, const int64_t* symbols, int64_t begin,
                        int64_t end) {
  alive();
  const auto& kernel = *static_cast<const LoadedKernel*>(code.keep.get());
  const ctext::Function& f = kernel.function;
  int64_t most = kBlocksMost;
  Workspace space;
  if (f.workspace_bytes > 0) {
    most = std::clamp<int64_t>(kWorkspaceMost / f.workspace_bytes, 1, end - begin);
    space = workspace(static_cast<size_t>(most * f.workspace_bytes));
  }
  std::vector<void*> arguments;
  for (size_t i = 0; i < code.arguments.size(); ++i) arguments.push_back(const_cast<void**>(&buffers[i]));
  for (size_t i = 0; i < code.symbols.size(); ++i) arguments.push_back(const_cast<int64_t*>(&symbols[i]));
  int64_t first = begin;
  arguments.push_back(&first);
  if (space.address) arguments.push_back(&space.address);
  launched(code.name);
  Result error = kSuccess;
  {
    const Current current(cu, context);
    for (; first < end && error == kSuccess; first += most)
      error = cu.cuLaunchKernel(kernel.handle, static_cast<unsigned>(std::min(end - first, most)), 1, 1,
                                static_cast<unsigned>(f.items), 1, 1, static_cast<unsigned>(f.staged_bytes),
                                current_stream(), arguments.data(), nullptr);
  }
  if (!recording) release(space.address, space.bytes);
  check(error, "launch", code.name);
}

// ---- graphs

CudaDevice::Replays::~Replays() {
  if (graphs.empty() || device.lost_) return;
  const std::lock_guard lock(device.replaying_);
  const Current current(device.cu, device.context);
  device.cu.cuStreamSynchronize(device.stream);  // they may still run
  for (Kept& graph : graphs) drop(graph);
}

void CudaDevice::Replays::drop(Kept& graph) noexcept {
  if (graph.exec) device.cu.cuGraphExecDestroy(graph.exec);
  for (const Workspace& w : graph.recording.workspaces) device.release(w.address, w.bytes);
}

// Leaves the graph of `work` last; false where it cannot be recorded.
bool CudaDevice::Replays::record(std::span<const int64_t> key, const std::function<void()>& work) {
  const Driver& cu = device.cu;
  Kept made{{key.begin(), key.end()}, nullptr, {}};
  Graph graph = nullptr;
  if (cu.cuStreamBeginCapture(device.recorded_, kCaptureRelaxed) != kSuccess) return false;
  const auto end = [&] {
    recording = nullptr;
    return cu.cuStreamEndCapture(device.recorded_, &graph) == kSuccess;
  };
  bool ok = false;
  try {
    recording = &made.recording;
    work();
    ok = end();
  } catch (const DeviceError&) {
    end();  // made as they are, the calls fail again, or it was the recording's fault
  } catch (...) {
    end();
    if (graph) cu.cuGraphDestroy(graph);
    drop(made);
    throw;
  }
  if (ok && graphs.size() == kGraphsMost) {
    Kept oldest = std::move(graphs.front());
    graphs.erase(graphs.begin());
    GraphUpdate update;
    if (cu.cuGraphExecUpdate(oldest.exec, graph, &update) == kSuccess)
      std::swap(made.exec, oldest.exec);  // the same calls with other buffers
    else
      cu.cuStreamSynchronize(device.stream);  // it may still run
    drop(oldest);
  }
  if (ok && !made.exec) ok = cu.cuGraphInstantiate(&made.exec, graph, 0) == kSuccess;
  if (graph) cu.cuGraphDestroy(graph);
  if (ok)
    graphs.push_back(std::move(made));
  else
    drop(made);
  return ok;
}

void CudaDevice::replay(std::shared_ptr<void>& kept, std::span<const int64_t> key,
                        const std::function<void()>& work) {
  alive();
  {
    const std::lock_guard lock(replaying_);
    const bool first = !kept;
    if (first) kept = std::make_shared<Replays>(*this);
    auto& replays = *static_cast<Replays*>(kept.get());
    if (!first && replays.can_record && knob_bool("TENFOLD_CUDA_GRAPHS")) {
      const Current current(cu, context);
      const auto known = std::ranges::find_if(
          replays.graphs, [&](const auto& graph) { return std::ranges::equal(graph.key, key); });
      if (known != replays.graphs.end())
        std::rotate(known, known + 1, replays.graphs.end());
      else
        replays.can_record = replays.record(key, work);
      if (replays.can_record) {
        const auto& graph = replays.graphs.back();
        for (const std::string& kernel : graph.recording.kernels) launched(kernel);
        return check(cu.cuGraphLaunch(graph.exec, stream), "a graph of launches");
      }
    }
  }
  work();
}

class CudaTarget final : public ctext::TextTarget {
 public:
  CudaTarget(int index, const Driver& cu, const Facts& facts)
      : TextTarget(ctext::kCuda),
        device_(index, cu, facts),
        facts_(facts),
        limits_(cuda::limits(facts.capability)) {
    int version = 0;
    cu.cuDriverGetVersion(&version);
    description_ = fmt::format("{}: compute capability {}.{}, {} units, {} MiB, driver for CUDA {}.{}",
                               facts.name, facts.capability / 10, facts.capability % 10, facts.units,
                               facts.memory >> 20, version / 1000, version % 1000 / 10);
  }

  std::string name() const override { return device_.name() + " " + facts_.name; }
  Device& device() override { return device_; }
  std::string description() const override { return description_; }
  std::string_view machine() const override {
    return facts_.capability == 90 ? "h200" : limits_.matrix ? "gpu80" : "gpu";
  }

 private:
  const ctext::Limits& limits() const override { return limits_; }

  std::shared_ptr<void> build(const std::string& text, const std::string& first_kernel) override {
    const Image image = cuda::compile(text, facts_.capability, first_kernel);
    auto module = std::make_shared<LoadedModule>(device_);
    const Current current(device_.cu, device_.context);
    device_.check(device_.cu.cuModuleLoadData(&module->handle, image.binary.c_str()), "loading its code",
                  first_kernel);
    return module;
  }

  std::shared_ptr<void> kernel(std::shared_ptr<void> program, const std::string& name,
                               const ctext::Function& function) override {
    auto loaded = std::make_shared<LoadedKernel>();
    loaded->module = std::static_pointer_cast<LoadedModule>(program);
    loaded->function = function;
    const Current current(device_.cu, device_.context);
    device_.check(
        device_.cu.cuModuleGetFunction(&loaded->handle, loaded->module->handle, function.name.c_str()),
        "looking it up", name);
    if (function.staged_bytes > 0)
      device_.check(device_.cu.cuFuncSetAttribute(loaded->handle, kMostDynamicShared,
                                                  static_cast<int>(function.staged_bytes)),
                    "asking for shared memory", name);
    return loaded;
  }

  CudaDevice device_;
  Facts facts_;
  ctext::Limits limits_;
  std::string description_;
};

const DeviceKind kKind{
    .name = "cuda",
    .count = [](std::string& missing) { return static_cast<int>(devices(&missing).size()); },
    .open = [](int index) -> std::shared_ptr<DeviceTarget> {
      return std::make_shared<CudaTarget>(index, *driver(), devices()[static_cast<size_t>(index)]);
    },
};

const RegisteredKind kRegistered{kKind};

}  // namespace
}  // namespace tenfold::cuda
