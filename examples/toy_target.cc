// A target in one file: a device of its own memory that runs every tile statement by its meaning. Nothing in
// the library knows it. docs/adding_a_target.md walks through it and says how to go on from here.
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>

#include <tenfold/target/devices.h>
#include <tenfold/tenfold.h>
#include <tenfold/tile/program.h>

namespace {

using namespace tenfold;

// Where buffers lie. This device's addresses are the host's; one with memory of its own hands out numbers.
class ToyDevice final : public Device {
 public:
  std::string name() const override { return "toy:0"; }
  void* allocate(size_t bytes) override { return tenfold::allocate(bytes); }
  void release(void* address, size_t bytes) noexcept override { tenfold::release(address, bytes); }
  void to_device(void* to, const void* from, size_t bytes) override { std::memcpy(to, from, bytes); }
  void to_host(void* to, const void* from, size_t bytes) override { std::memcpy(to, from, bytes); }
  void copy(void* to, const void* from, size_t bytes) override { std::memcpy(to, from, bytes); }
  void synchronize() override {}
  MemoryStatistics memory() const override { return memory_statistics(); }

  // All blocks: this device never splits a launch, so begin is 0 and end their number.
  void launch(const Code& code, void* const* buffers, const int64_t* symbols, int64_t, int64_t) override {
    const auto& kernel = *static_cast<const tile::Kernel*>(code.keep.get());
    std::map<std::string, int64_t> values;
    for (size_t i = 0; i < code.symbols.size(); ++i) values[code.symbols[i]] = symbols[i];
    std::map<void*, Array> arrays;  // by address: a donated buffer is two arguments of one memory
    std::vector<Array*> arguments;
    for (size_t i = 0; i < kernel.args.size(); ++i) {
      Ints shape;
      for (const Dim& d : kernel.args[i].shape) shape.push_back(d.evaluate(values));
      Array& array = arrays.try_emplace(buffers[i], kernel.args[i].dtype, shape).first->second;
      if (!array.bytes.empty()) std::memcpy(array.bytes.data(), buffers[i], array.bytes.size());
      arguments.push_back(&array);
    }
    tile::run(kernel, arguments, values);
    for (size_t i = 0; i < kernel.args.size(); ++i)
      if (kernel.args[i].output && !arguments[i]->bytes.empty())
        std::memcpy(buffers[i], arguments[i]->bytes.data(), arguments[i]->bytes.size());
    ++launches;
  }

  int launches = 0;
};

// The compiler: keeps the tile program. A real one makes machine code of it here.
class ToyTarget final : public DeviceTarget {
 public:
  std::string name() const override { return "toy"; }
  ToyDevice& device() override { return device_; }
  std::string description() const override { return "runs the meaning of every tile statement"; }
  std::string_view machine() const override { return "portable"; }

  std::vector<Code> compile(std::span<const tile::Kernel* const> kernels) override {
    std::vector<Code> codes;
    for (const tile::Kernel* kernel : kernels) {
      Code code;
      code.name = kernel->name;
      code.symbols = symbol_names(*kernel);
      code.keep = std::make_shared<tile::Kernel>(tile::clone(*kernel));
      codes.push_back(std::move(code));
    }
    return codes;
  }
  std::string listing(const tile::Kernel& kernel, std::string_view) override { return tile::print(kernel); }

 private:
  ToyDevice device_;
};

// The one line in the list of targets.
const DeviceKind kToy{
    .name = "toy",
    .count = [](std::string&) { return 1; },
    .open = [](int) -> std::shared_ptr<DeviceTarget> { return std::make_shared<ToyTarget>(); },
};
const RegisteredKind kRegistered{kToy};

}  // namespace

int main() {
  namespace tn = tenfold::lang;
  const auto softmax = tn::jit([](const tn::Tensor& x) {
    const tn::Tensor e = tn::exp(x - tn::max(x, tenfold::Ints{1}, true));
    return tn::divide(e, tn::sum(e, tenfold::Ints{1}, true));
  });
  const tn::Tensor x = tn::random::normal(tn::random::key(1), {5, 30});
  const std::vector<float> here = softmax(x).to_vector<float>();
  const tn::Tensor y = softmax(x.to("toy:0"));
  const std::vector<float> there = y.to_vector<float>();
  double worst = 0;
  for (size_t i = 0; i < here.size(); ++i) worst = std::max(worst, std::abs(double{here[i]} - there[i]));
  std::printf("softmax on %s: %d launches, differs from the cpu's by at most %g\n", y.device().c_str(),
              dynamic_cast<ToyDevice&>(tenfold::device_target("toy:0")->device()).launches, worst);
  return y.device() == "toy:0" && worst <= 1e-6 ? 0 : 1;
}
