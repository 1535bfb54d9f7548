#include "tenfold/target/cpu.h"

#include <algorithm>
#include <filesystem>
#include <functional>
#include <map>
#include <mutex>
#include <sys/syscall.h>

#include <dlfcn.h>
#include <unistd.h>

#include "tenfold/base/error.h"
#include "tenfold/base/hash.h"
#include "tenfold/runtime/disk_cache.h"
#include "tenfold/runtime/parallel.h"
#include "tenfold/target/llvm_module.h"
#include "tenfold/tile/program.h"

namespace tenfold {
namespace {

// Narrowest first.
const Isa kIsas[] = {
    {"portable", "x86-64", 16, 16, false, false, false, false, false},
    {"avx2", "x86-64-v3", 32, 16, false, true, true, true, true},
    {"avx512", "x86-64-v4", 64, 32, true, true, true, true, true},
    {"avx512vnni", "x86-64-v4", 64, 32, true, true, true, true, true, true, false, false, "+avx512vnni"},
    {"avx512bf16", "x86-64-v4", 64, 32, true, true, true, true, true, true, true, false,
     "+avx512vnni,+avx512bf16"},
    {"amx", "x86-64-v4", 64, 32, true, true, true, true, true, true, true, true,
     "+avx512vnni,+avx512bf16,+amx-tile,+amx-int8,+amx-bf16"},
};

// The kernel lets a process use tile registers once it has asked.
bool grants_tiles() {
  constexpr int kRequest = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM
  static const bool granted = syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
  return granted;
}

bool runs(const Isa& isa) {
  if (isa.amx && !(__builtin_cpu_supports("amx-tile") && __builtin_cpu_supports("amx-int8") &&
                   __builtin_cpu_supports("amx-bf16") && grants_tiles()))
    return false;
  if (isa.bf16 && !__builtin_cpu_supports("avx512bf16")) return false;
  if (isa.vnni && !__builtin_cpu_supports("avx512vnni")) return false;
  if (isa.avx512)
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512cd");
  if (isa.avx2)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
           __builtin_cpu_supports("bmi2");
  return true;
}

std::string module_path() {
  const std::string self = file_of(reinterpret_cast<void*>(&runs));
  const size_t slash = self.rfind('/');
  return slash == std::string::npos ? kLlvmModule : self.substr(0, slash + 1) + kLlvmModule;
}

// The compiler is part of every key: another build of it makes other code.
const std::string& compiler_identity() {
  static const std::string identity = file_stamp(module_path());
  return identity;
}

// What a kernel does, whatever it and its buffers are called.
std::string nameless(const tile::Kernel& kernel) {
  tile::Kernel k = tile::clone(kernel);
  k.name = "k";
  for (size_t a = 0; a < k.args.size(); ++a) k.args[a].name = fmt::format("a{}", a);
  return tile::print(k);
}

class CpuTarget final : public Target {
 public:
  explicit CpuTarget(const Isa& isa) : isa_(isa) {}
  std::string name() const override { return "llvm " + isa_.name; }

  std::vector<Code> compile(std::span<const tile::Kernel* const> kernels) override {
    if (!runs(isa_))
      user_error("instruction set {}: this machine cannot run it; it runs {}", isa_.name,
                 fmt::join(runnable_isas(), ", "));
    std::vector<std::string> keys;
    std::vector<std::shared_ptr<LoadedObject>> objects(kernels.size());
    std::vector<size_t> missing;
    std::map<std::string, size_t> compiled;  // by key
    for (size_t i = 0; i < kernels.size(); ++i) {
      keys.push_back(digest(fmt::format("{} {} {} {}\n{}", isa_.name, isa_.cpu, isa_.features,
                                        compiler_identity(), nameless(*kernels[i]))));
      objects[i] = cached(keys[i]);
      if (!objects[i] && compiled.emplace(keys[i], i).second) missing.push_back(i);
    }
    if (!missing.empty()) {
      std::map<std::string, std::shared_ptr<LoadedObject>> made;  // by key
      for (const Batch& batch : compile_batches(kernels, keys, missing)) {
        const auto object = remember(batch.key, load_object(batch.bytes));
        disk_cache().store(batch.key, batch.bytes);
        for (size_t i : batch.kernels) {  // a kernel's own file names the object that holds it
          disk_cache().store(keys[i], batch.key);
          made[keys[i]] = object;
        }
      }
      for (size_t i = 0; i < kernels.size(); ++i)
        if (!objects[i]) objects[i] = made.at(keys[i]);
    }
    std::vector<Code> codes;
    for (size_t i = 0; i < kernels.size(); ++i)
      codes.push_back(make_code(*kernels[i], objects[i], function_name(keys[i])));
    return codes;
  }

  std::string listing(const tile::Kernel& kernel, std::string_view what) override {
    return compiler().listing(kernel, what);
  }

 private:
  // Kernels of one object, which a thread makes.
  struct Batch {
    std::vector<size_t> kernels = {};
    size_t size = 0;
    std::string key = {}, bytes = {};
  };

  // A few kernels are one object; more are one for each thread, of like size.
  std::vector<Batch> compile_batches(std::span<const tile::Kernel* const> kernels,
                                     const std::vector<std::string>& keys, std::vector<size_t> missing) {
    auto size = [&](size_t i) { return kernels[i]->values.size(); };
    std::ranges::stable_sort(missing, std::greater(), size);
    size_t all = 0;
    for (const size_t i : missing) all += size(i);
    constexpr size_t kBatch = 200;  // values: some 5 ms
    const auto most = std::min(missing.size(), static_cast<size_t>(thread_count()));
    std::vector<Batch> batches(std::clamp<size_t>(all / kBatch, 1, most));
    for (const size_t i : missing) {
      Batch& least = *std::ranges::min_element(batches, {}, &Batch::size);
      least.kernels.push_back(i);
      least.size += size(i);
    }
    ObjectTarget& with = compiler();
    auto make = [&](Batch& batch) {
      std::vector<const tile::Kernel*> group;
      std::vector<std::string> names;
      std::string text;
      for (const size_t i : batch.kernels) {
        group.push_back(kernels[i]);
        names.push_back(function_name(keys[i]));
        text += keys[i];
      }
      batch.bytes = with.object(group, names);
      batch.key = digest(text);
    };
    struct Work {
      std::vector<Batch>& batches;
      decltype(make)& one;
    } work{batches, make};
    parallel_ranges(
        static_cast<int64_t>(batches.size()),
        [](void* context, int64_t begin, int64_t end) {
          auto& w = *static_cast<Work*>(context);
          for (int64_t b = begin; b < end; ++b) w.one(w.batches[static_cast<size_t>(b)]);
        },
        &work);
    return batches;
  }

  static std::string function_name(const std::string& key) { return "k" + key; }

  std::shared_ptr<LoadedObject> cached(const std::string& key) {
    const auto object_key = disk_cache().load(key);
    if (!object_key) return nullptr;
    {
      const std::lock_guard lock(mutex_);
      if (const auto known = objects_.find(*object_key); known != objects_.end())
        if (auto object = known->second.lock()) return object;
    }
    const auto bytes = disk_cache().load(*object_key);
    if (!bytes) return nullptr;
    try {
      auto object = load_object(*bytes);
      return object->find(function_name(key)) ? remember(*object_key, object) : nullptr;
    } catch (const InternalError&) {
      return nullptr;  // written by a newer compiler, say: compile again
    }
  }

  std::shared_ptr<LoadedObject> remember(const std::string& key, std::shared_ptr<LoadedObject> object) {
    const std::lock_guard lock(mutex_);
    objects_[key] = object;
    return object;
  }

  ObjectTarget& compiler() {
    const std::lock_guard lock(mutex_);
    if (compiler_) return *compiler_;
    const std::string path = module_path();
    if (!std::filesystem::exists(path))
      throw DeviceError(
          fmt::format("the cpu has no compiler here: there is no {} (tenfold was built with "
                      "TENFOLD_LLVM=OFF). Use a device "
                      "(`x.to`), or TENFOLD_INTERPRET=1 for the slow reference interpreter",
                      path));
    void* module = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);  // stays open
    if (!module) throw DeviceError(fmt::format("cannot open {}: {}", path, dlerror()));
    auto factory = reinterpret_cast<LlvmFactory>(dlsym(module, kLlvmFactory));
    if (!factory) throw DeviceError(fmt::format("{} has no {}", path, kLlvmFactory));
    compiler_.reset(static_cast<ObjectTarget*>(factory(isa_.name.c_str())));
    return *compiler_;
  }

  const Isa& isa_;
  std::mutex mutex_;
  std::unique_ptr<ObjectTarget> compiler_;
  std::map<std::string, std::weak_ptr<LoadedObject>> objects_;
};

}  // namespace

const Isa& find_isa(std::string_view name) {
  if (name == "native") {
    const Isa* best = &kIsas[0];
    for (const Isa& isa : kIsas)
      if (runs(isa)) best = &isa;
    return *best;
  }
  for (const Isa& isa : kIsas)
    if (isa.name == name) return isa;
  std::vector<std::string> names;
  for (const Isa& isa : kIsas) names.insert(names.begin(), isa.name);
  user_error("there is no instruction set {}: take native, {}", name, fmt::join(names, ", "));
}

std::string machine_class(const Isa& isa) {  // Zen 4 is the first of AMD with these
  if (isa.amx) return "amx";
  if (isa.bf16) return __builtin_cpu_is("amd") ? "zen4" : "avx512bf16";
  return isa.avx512 ? "avx512" : isa.name;
}

std::vector<std::string> runnable_isas() {
  std::vector<std::string> names;
  for (const Isa& isa : kIsas)
    if (runs(isa)) names.push_back(isa.name);
  return names;
}

Code make_code(const tile::Kernel& kernel, const std::shared_ptr<LoadedObject>& object,
               const std::string& function) {
  Code code;
  code.name = kernel.name;
  code.function = reinterpret_cast<KernelFunction>(object->find(function));
  TENFOLD_CHECK(code.function, "kernel {} is not in its object", kernel.name);
  code.scratch_bytes = tile::scratch_bytes(kernel);
  code.symbols = symbol_names(kernel);
  code.keep = object;
  return code;
}

std::shared_ptr<Target> cpu_target(std::string_view name) {
  static std::mutex mutex;
  static std::map<std::string, std::shared_ptr<Target>> targets;
  const Isa& isa = find_isa(name);
  const std::lock_guard lock(mutex);
  auto& target = targets[isa.name];
  if (!target) target = std::make_shared<CpuTarget>(isa);
  return target;
}

}  // namespace tenfold
