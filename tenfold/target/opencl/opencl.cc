// OpenCL devices: the C emitter's text built by the driver, one queue in order for each device.
#include "tenfold/target/opencl/opencl.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <map>
#include <mutex>

#include "tenfold/base/error.h"
#include "tenfold/base/hash.h"
#include "tenfold/runtime/disk_cache.h"
#include "tenfold/target/ctext/target.h"
#include "tenfold/target/opencl/api.h"

namespace tenfold::opencl {
namespace {

constexpr int64_t kWorkspaceMost = int64_t{64} << 20;    // bytes; a launch that wants more runs in pieces
constexpr int64_t kGroupsMost = int64_t{1} << 24;        // of one launch: global sizes stay below 2^32
constexpr int64_t kKeptMost = int64_t{1} << 30;          // bytes of released buffers that are kept for reuse
constexpr uintptr_t kFirstAddress = uintptr_t{1} << 62;  // no host memory lies there

struct DeviceFacts {
  Platform platform = nullptr;
  DeviceId id = nullptr;
};

std::string text_of(auto get, auto handle, Uint what) {
  size_t size = 0;
  if (get(handle, what, 0, nullptr, &size) != kSuccess) return "";
  std::string text(size, '\0');
  get(handle, what, size, text.data(), nullptr);
  while (!text.empty() && (text.back() == '\0' || text.back() == ' ')) text.pop_back();
  return text;
}

template <class T>
T number_of(const Api& cl, DeviceId device, Uint what) {
  T value{};
  cl.clGetDeviceInfo(device, what, sizeof value, &value, nullptr);
  return value;
}

const std::vector<DeviceFacts>& devices(std::string* missing = nullptr) {
  static const std::vector<DeviceFacts> all = [] {
    std::vector<DeviceFacts> found;
    const Api* cl = api();
    if (!cl) return found;
    Uint count = 0;
    if (cl->clGetPlatformIDs(0, nullptr, &count) != kSuccess) return found;
    std::vector<Platform> platforms(count);
    cl->clGetPlatformIDs(count, platforms.data(), nullptr);
    for (const Platform platform : platforms) {
      Uint n = 0;
      if (cl->clGetDeviceIDs(platform, kTypeAll, 0, nullptr, &n) != kSuccess) continue;
      std::vector<DeviceId> ids(n);
      cl->clGetDeviceIDs(platform, kTypeAll, n, ids.data(), nullptr);
      for (const DeviceId id : ids) found.push_back({platform, id});
    }
    return found;
  }();
  if (all.empty() && missing && api(missing))
    *missing = "libOpenCL knows no device. Install a driver (Debian: pocl-opencl-icd, or the GPU vendor's)";
  return all;
}

struct BuiltProgram {
  const Api* cl = nullptr;
  ProgramHandle handle = nullptr;
  ~BuiltProgram() {
    if (handle) cl->clReleaseProgram(handle);
  }
};

struct BuiltKernel {
  std::shared_ptr<BuiltProgram> program;
  KernelHandle handle = nullptr;
  ctext::Function function;
  ~BuiltKernel() {
    if (handle) program->cl->clReleaseKernel(handle);
  }
};

class ClDevice final : public Device {
 public:
  ClDevice(int index, const Api& api, const DeviceFacts& facts)
      : cl(api), id(facts.id), name_(fmt::format("opencl:{}", index)) {
    Int error = kSuccess;
    context = cl.clCreateContext(nullptr, 1, &id, nullptr, nullptr, &error);
    check(error, "clCreateContext");
    queue_ = cl.clCreateCommandQueue(context, id, 0, &error);
    check(error, "clCreateCommandQueue");
  }

  std::string name() const override { return name_; }

  void* allocate(size_t bytes) override {
    const size_t size = size_class(bytes);
    const std::lock_guard lock(mutex_);
    ++statistics_.allocations;
    Memory memory = nullptr;
    if (auto kept = kept_.find(size); kept != kept_.end() && !kept->second.empty()) {
      memory = kept->second.back();
      kept->second.pop_back();
      ++statistics_.reuses;
      statistics_.cached_bytes -= static_cast<int64_t>(size);
    } else {
      Int error = kSuccess;
      memory = cl.clCreateBuffer(context, kReadWrite, size, nullptr, &error);
      if (error != kSuccess) {
        drop_kept();
        memory = cl.clCreateBuffer(context, kReadWrite, size, nullptr, &error);
      }
      if (error != kSuccess)
        throw DeviceError(
            fmt::format("{} has no memory left for a buffer of {} bytes ({} bytes are in use; {}); drop "
                        "arrays that are not "
                        "needed, or work in smaller batches",
                        name_, bytes, statistics_.live_bytes, error_name(error)));
    }
    const uintptr_t at = next_address_;
    next_address_ += size + kAlignment;  // a gap, so that the end of one block is not the next one
    blocks_[at] = {memory, size};
    statistics_.live_bytes += static_cast<int64_t>(size);
    statistics_.peak_bytes = std::max(statistics_.peak_bytes, statistics_.live_bytes);
    return reinterpret_cast<void*>(at);
  }

  void release(void* address, size_t) noexcept override {
    const std::lock_guard lock(mutex_);
    const auto found = blocks_.find(reinterpret_cast<uintptr_t>(address));
    if (found == blocks_.end()) return;
    const auto [memory, size] = found->second;
    blocks_.erase(found);
    statistics_.live_bytes -= static_cast<int64_t>(size);
    // The queue is in order: who gets it next comes after who has it still.
    if (statistics_.cached_bytes + static_cast<int64_t>(size) <= kKeptMost) {
      kept_[size].push_back(memory);
      statistics_.cached_bytes += static_cast<int64_t>(size);
    } else {
      cl.clReleaseMemObject(memory);
    }
  }

  void to_device(void* to, const void* from, size_t bytes) override {
    if (bytes == 0) return;
    const auto [memory, offset] = find(to);
    check(cl.clEnqueueWriteBuffer(queue_, memory, kTrue, offset, bytes, from, 0, nullptr, nullptr),
          "a copy to it");
  }
  void to_host(void* to, const void* from, size_t bytes) override {
    if (bytes == 0) return;
    const auto [memory, offset] = find(from);
    check(cl.clEnqueueReadBuffer(queue_, memory, kTrue, offset, bytes, to, 0, nullptr, nullptr),
          "a copy from it");
  }
  void copy(void* to, const void* from, size_t bytes) override {
    if (bytes == 0 || to == from) return;
    const auto [target, to_offset] = find(to);
    const auto [source, from_offset] = find(from);
    check(cl.clEnqueueCopyBuffer(queue_, source, target, from_offset, to_offset, bytes, 0, nullptr, nullptr),
          "a copy on it");
  }

  void launch(const Code& code, void* const* buffers, const int64_t* symbols, int64_t begin,
              int64_t end) override {
    const auto& kernel = *static_cast<const BuiltKernel*>(code.keep.get());
    const ctext::Function& f = kernel.function;
    int64_t most = kGroupsMost;
    void* workspace = nullptr;
    if (f.workspace_bytes > 0) {
      most = std::clamp<int64_t>(kWorkspaceMost / f.workspace_bytes, 1, end - begin);
      workspace = allocate(static_cast<size_t>(most * f.workspace_bytes));
    }
    {
      const std::lock_guard lock(launch_);  // a kernel's arguments are its state
      for (int64_t from = begin; from < end; from += most)
        enqueue(kernel, code, buffers, symbols, from, std::min(end - from, most), workspace);
      const std::lock_guard named(mutex_);
      last_kernel_ = code.name;
    }
    if (workspace) release(workspace, static_cast<size_t>(most * f.workspace_bytes));
  }

  void synchronize() override { check(cl.clFinish(queue_), "synchronize"); }

  MemoryStatistics memory() const override {
    const std::lock_guard lock(mutex_);
    return statistics_;
  }

  void check(Int error, std::string_view what, std::string_view kernel = {}) const {
    if (error == kSuccess) return;
    const std::lock_guard lock(mutex_);
    const std::string blamed = kernel.empty() ? last_kernel_ : std::string(kernel);
    throw DeviceError(fmt::format("{}: {} failed with {}{}", name_, what, error_name(error),
                                  blamed.empty() || !kernel.empty() ? "" : ", after kernel " + blamed));
  }

  const Api& cl;
  DeviceId id;
  Context context = nullptr;

 private:
  struct Block {
    Memory memory = nullptr;
    size_t size = 0;
  };

  std::pair<Memory, size_t> find(const void* address) const {
    const auto at = reinterpret_cast<uintptr_t>(address);
    const std::lock_guard lock(mutex_);
    auto block = blocks_.upper_bound(at);
    TENFOLD_CHECK(block != blocks_.begin(), "{} is not in the memory of {}", address, name_);
    --block;
    TENFOLD_CHECK(at - block->first <= block->second.size, "{} is not in the memory of {}", address, name_);
    return {block->second.memory, at - block->first};
  }

  void enqueue(const BuiltKernel& kernel, const Code& code, void* const* buffers, const int64_t* symbols,
               int64_t first, int64_t count, void* workspace) {
    Uint next = 0;
    const auto pass = [&](const void* value, size_t size) {
      check(cl.clSetKernelArg(kernel.handle, next++, size, value), "setting an argument of " + code.name,
            code.name);
    };
    for (size_t i = 0; i < code.arguments.size(); ++i) {
      const auto [memory, offset] = find(buffers[i]);
      const auto elements = static_cast<int64_t>(offset) / code.arguments[i];
      pass(&memory, sizeof memory);
      pass(&elements, sizeof elements);
    }
    for (size_t i = 0; i < code.symbols.size(); ++i) pass(&symbols[i], sizeof symbols[i]);
    pass(&first, sizeof first);
    if (workspace) {
      const Memory memory = find(workspace).first;
      pass(&memory, sizeof memory);
    }
    const auto items = static_cast<size_t>(kernel.function.items);
    const size_t global = items * static_cast<size_t>(count);
    check(cl.clEnqueueNDRangeKernel(queue_, kernel.handle, 1, nullptr, &global, &items, 0, nullptr, nullptr),
          "launch of kernel " + code.name, code.name);
  }

  void drop_kept() {
    for (auto& [size, list] : kept_)
      for (const Memory memory : list) cl.clReleaseMemObject(memory);
    kept_.clear();
    statistics_.cached_bytes = 0;
  }

  std::string name_;
  Queue queue_ = nullptr;
  mutable std::mutex mutex_;  // guards what follows
  std::map<uintptr_t, Block> blocks_;
  std::map<size_t, std::vector<Memory>> kept_;
  uintptr_t next_address_ = kFirstAddress;
  MemoryStatistics statistics_;
  std::string last_kernel_;
  std::mutex launch_;
};

class ClTarget final : public ctext::TextTarget {
 public:
  ClTarget(int index, const Api& cl, const DeviceFacts& facts, const std::optional<ctext::Limits>& limits)
      : TextTarget(ctext::kOpenCl), device_(index, cl, facts) {
    const auto get = [&](Uint what) { return text_of(cl.clGetDeviceInfo, facts.id, what); };
    platform_ = text_of(cl.clGetPlatformInfo, facts.platform, kPlatformName);
    name_ = get(kDeviceName);
    is_cpu_ = number_of<Bits>(cl, facts.id, kDeviceType) & kTypeCpu;
    const auto floats = number_of<Bits>(cl, facts.id, kDeviceFloats);
    limits_.items = static_cast<int>(
        std::bit_floor(std::clamp<size_t>(number_of<size_t>(cl, facts.id, kDeviceGroupSize), 1, 256)));
    limits_.local_bytes = static_cast<int64_t>(number_of<uint64_t>(cl, facts.id, kDeviceLocalMemory));
    limits_.arithmetic.f64 = get(kDeviceExtensions).find("cl_khr_fp64") != std::string::npos;
    limits_.arithmetic.exact_division = floats & kCorrectDivision;
    if (limits) limits_ = *limits;
    options_ = limits_.arithmetic.exact_division ? "-cl-fp32-correctly-rounded-divide-sqrt" : "";
    identity_ =
        fmt::format("{}|{}|{}|{}|{}", platform_, name_, get(kDeviceVersion), get(kDriverVersion), options_);
    description_ = fmt::format("{}: {}, {} units, {} MiB, {} KiB local{}{}", platform_, name_,
                               number_of<Uint>(cl, facts.id, kDeviceUnits),
                               number_of<uint64_t>(cl, facts.id, kDeviceMemory) >> 20,
                               limits_.local_bytes >> 10, limits_.arithmetic.f64 ? "" : ", no f64",
                               floats & kFloatDenormals ? "" : ", small f32 are flushed to 0");
  }

  std::string name() const override { return device_.name() + " " + name_; }
  Device& device() override { return device_; }
  std::string description() const override { return description_; }
  std::string_view machine() const override {
    return is_cpu_ ? "pocl" : name_.find("H200") != std::string::npos ? "h200" : "gpu";
  }

 private:
  const ctext::Limits& limits() const override { return limits_; }

  std::shared_ptr<void> build(const std::string& text, const std::string& first_kernel) override {
    const std::string key = digest(identity_ + "\n" + text);
    if (auto program = from_cache(key)) return program;
    return from_source(key, text, first_kernel);
  }

  std::shared_ptr<void> kernel(std::shared_ptr<void> program, const std::string& name,
                               const ctext::Function& function) override {
    auto built = std::make_shared<BuiltKernel>();
    built->program = std::static_pointer_cast<BuiltProgram>(program);
    built->function = function;
    Int error = kSuccess;
    built->handle = device_.cl.clCreateKernel(built->program->handle, function.name.c_str(), &error);
    device_.check(error, "kernel " + name, name);
    return built;
  }

  std::shared_ptr<BuiltProgram> from_cache(const std::string& key) {
    const auto bytes = disk_cache().load(key);
    if (!bytes) return nullptr;
    auto program = std::make_shared<BuiltProgram>();
    program->cl = &device_.cl;
    const size_t size = bytes->size();
    const auto* data = reinterpret_cast<const unsigned char*>(bytes->data());
    Int status = kSuccess, error = kSuccess;
    program->handle =
        device_.cl.clCreateProgramWithBinary(device_.context, 1, &device_.id, &size, &data, &status, &error);
    if (error != kSuccess || status != kSuccess ||
        device_.cl.clBuildProgram(program->handle, 1, &device_.id, options_.c_str(), nullptr, nullptr) !=
            kSuccess)
      return nullptr;  // the driver's own business: build it again
    return program;
  }

  std::shared_ptr<BuiltProgram> from_source(const std::string& key, const std::string& text,
                                            const std::string& first_kernel) {
    const Api& cl = device_.cl;
    auto program = std::make_shared<BuiltProgram>();
    program->cl = &cl;
    const char* source = text.c_str();
    const size_t length = text.size();
    Int error = kSuccess;
    program->handle = cl.clCreateProgramWithSource(device_.context, 1, &source, &length, &error);
    device_.check(error, "clCreateProgramWithSource", first_kernel);
    error = cl.clBuildProgram(program->handle, 1, &device_.id, options_.c_str(), nullptr, nullptr);
    if (error != kSuccess) {
      size_t size = 0;
      cl.clGetProgramBuildInfo(program->handle, device_.id, kBuildLog, 0, nullptr, &size);
      std::string log(size, '\0');
      cl.clGetProgramBuildInfo(program->handle, device_.id, kBuildLog, size, log.data(), nullptr);
      throw DeviceError(fmt::format("{}: kernel {} does not build ({}):\n{}\n{}", device_.name(),
                                    first_kernel, error_name(error), log.c_str(), text));
    }
    size_t size = 0;
    if (cl.clGetProgramInfo(program->handle, kBinarySizes, sizeof size, &size, nullptr) == kSuccess &&
        size > 0) {
      std::string binary(size, '\0');
      auto* data = reinterpret_cast<unsigned char*>(binary.data());
      if (cl.clGetProgramInfo(program->handle, kBinaries, sizeof data, &data, nullptr) == kSuccess)
        disk_cache().store(key, binary);
    }
    return program;
  }

  ClDevice device_;
  std::string platform_, name_, identity_, options_, description_;
  bool is_cpu_ = false;
  ctext::Limits limits_;
};

const DeviceKind kKind{
    .name = "opencl",
    .count = [](std::string& missing) { return static_cast<int>(devices(&missing).size()); },
    .open = [](int index) { return open_device(index); },
};

const RegisteredKind kRegistered{kKind};

}  // namespace

std::shared_ptr<DeviceTarget> open_device(int index, const std::optional<ctext::Limits>& limits) {
  std::string missing = "there are fewer";
  const auto& all = devices(&missing);
  if (static_cast<size_t>(index) >= all.size())
    throw DeviceError(fmt::format("device opencl:{}: {}", index, missing));
  return std::make_shared<ClTarget>(index, *api(), all[static_cast<size_t>(index)], limits);
}

}  // namespace tenfold::opencl
