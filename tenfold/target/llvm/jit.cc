// From LLVM IR to machine code. One context and one TargetMachine per thread and instruction set; no IR
// passes.
#include <mutex>

#include <llvm/IR/LegacyPassManager.h>
#include <llvm/IR/Verifier.h>
#include <llvm/MC/TargetRegistry.h>
#include <llvm/Support/TargetSelect.h>
#include <llvm/Support/raw_ostream.h>
#include <llvm/Target/TargetMachine.h>
#include <llvm/Target/TargetOptions.h>
#include <llvm/TargetParser/Host.h>

#include "tenfold/base/knobs.h"
#include "tenfold/runtime/object.h"
#include "tenfold/target/llvm/emit.h"
#include "tenfold/target/llvm_module.h"

namespace tenfold::cpu {
namespace {

constexpr const char* kTriple = "x86_64-unknown-linux-gnu";

llvm::TargetMachine& machine(const Isa& isa) {
  static std::once_flag once;
  std::call_once(once, [] {
    llvm::InitializeNativeTarget();
    llvm::InitializeNativeTargetAsmPrinter();
  });
  thread_local std::map<std::string, std::unique_ptr<llvm::TargetMachine>> machines;
  auto& m = machines[isa.name];
  if (m) return *m;
  std::string error;
  const llvm::Target* target = llvm::TargetRegistry::lookupTarget(kTriple, error);
  if (!target) throw DeviceError("LLVM has no target " + std::string(kTriple) + ": " + error);
  llvm::TargetOptions options;
  options.AllowFPOpFusion = llvm::FPOpFusion::Strict;
  m.reset(target->createTargetMachine(kTriple, isa.cpu, isa.features, options, llvm::Reloc::PIC_,
                                      llvm::CodeModel::Small, llvm::CodeGenOptLevel::Less, true));
  return *m;
}

class LlvmTarget final : public ObjectTarget {
 public:
  explicit LlvmTarget(const Isa& isa) : isa_(isa) {}
  std::string name() const override { return "llvm " + isa_.name; }

  std::string object(std::span<const tile::Kernel* const> kernels,
                     std::span<const std::string> names) override {
    llvm::LLVMContext context;
    const auto module = build(context, kernels, names);
    return generate(*module, llvm::CodeGenFileType::ObjectFile);
  }

  std::vector<Code> compile(std::span<const tile::Kernel* const> kernels) override {
    std::vector<std::string> names;
    for (size_t i = 0; i < kernels.size(); ++i) names.push_back(fmt::format("kernel{}", i));
    const auto loaded = load_object(object(kernels, names));
    std::vector<Code> codes;
    for (size_t i = 0; i < kernels.size(); ++i) codes.push_back(make_code(*kernels[i], loaded, names[i]));
    return codes;
  }

  std::string listing(const tile::Kernel& kernel, std::string_view what) override {
    if (what != "llvm" && what != "asm") user_error("listing {}: there are \"llvm\" and \"asm\"", what);
    llvm::LLVMContext context;
    const tile::Kernel* kernels[] = {&kernel};
    const std::string names[] = {kernel.name};
    const auto module = build(context, kernels, names);
    if (what == "asm") return generate(*module, llvm::CodeGenFileType::AssemblyFile);
    std::string text;
    llvm::raw_string_ostream out(text);
    module->print(out, nullptr);
    return text;
  }

 private:
  std::unique_ptr<llvm::Module> build(llvm::LLVMContext& context,
                                      std::span<const tile::Kernel* const> kernels,
                                      std::span<const std::string> names) {
    auto module = std::make_unique<llvm::Module>("tenfold", context);
    module->setTargetTriple(kTriple);
    module->setDataLayout(machine(isa_).createDataLayout());
    for (size_t i = 0; i < kernels.size(); ++i) emit(*module, *kernels[i], names[i], isa_);
    if (knob_bool("TENFOLD_VERIFY")) {
      std::string complaint;
      llvm::raw_string_ostream out(complaint);
      if (llvm::verifyModule(*module, &out))
        internal_error("LLVM's verifier", fmt::format("kernel {}: {}", kernels[0]->name, complaint));
    }
    return module;
  }

  std::string generate(llvm::Module& module, llvm::CodeGenFileType type) {
    llvm::SmallString<0> bytes;
    llvm::raw_svector_ostream out(bytes);
    llvm::legacy::PassManager passes;
    if (machine(isa_).addPassesToEmitFile(passes, out, nullptr, type, true))
      throw DeviceError("LLVM cannot write objects for " + isa_.name);
    passes.run(module);
    return std::string(bytes.data(), bytes.size());
  }

  const Isa& isa_;
};

}  // namespace
}  // namespace tenfold::cpu

extern "C" tenfold::Target* tenfold_make_llvm_target(const char* isa) {
  return new tenfold::cpu::LlvmTarget(tenfold::find_isa(isa));
}
