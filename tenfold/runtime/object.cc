#include "tenfold/runtime/object.h"

#include <cmath>
#include <cstdint>
#include <cstring>
#include <sys/mman.h>
#include <vector>

#include <elf.h>

#include "tenfold/base/error.h"

namespace tenfold {
namespace {

constexpr size_t kStubBytes = 16;  // jmp *[rip + 2], padding, address
constexpr size_t kPage = 4096;

struct External {
  const char* name;
  void* address;
};
using F32x3 = float (*)(float, float, float);
using F64x3 = double (*)(double, double, double);
const External kExternals[] = {
    {"fma", reinterpret_cast<void*>(static_cast<F64x3>(&::fma))},
    {"fmaf", reinterpret_cast<void*>(static_cast<F32x3>(&::fmaf))},
    {"memcpy", reinterpret_cast<void*>(&::memcpy)},
    {"memmove", reinterpret_cast<void*>(&::memmove)},
    {"memset", reinterpret_cast<void*>(&::memset)},
};

[[noreturn]] void bad(const std::string& why) { internal_error("a valid object file", why); }

// Copies out of the file: it may be misaligned, and every access is checked.
struct File {
  std::string_view bytes;
  template <class T>
  T read(uint64_t offset) const {
    if (offset > bytes.size() || bytes.size() - offset < sizeof(T)) bad("it is cut off");
    T value;
    std::memcpy(&value, bytes.data() + offset, sizeof(T));
    return value;
  }
  std::string text(const Elf64_Shdr& table, uint64_t offset) const {
    if (table.sh_offset > bytes.size() || table.sh_size > bytes.size() - table.sh_offset ||
        offset >= table.sh_size)
      bad("a name lies outside");
    const char* start = bytes.data() + table.sh_offset + offset;
    return std::string(start, strnlen(start, table.sh_size - offset));
  }
};

size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

}  // namespace

LoadedObject::~LoadedObject() {
  if (memory_) munmap(memory_, size_);
}

void* LoadedObject::find(const std::string& function) const {
  const auto it = functions_.find(function);
  return it == functions_.end() ? nullptr : it->second;
}

std::shared_ptr<LoadedObject> load_object(std::string_view bytes) {
  const File file{bytes};
  const auto header = file.read<Elf64_Ehdr>(0);
  if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_ident[EI_CLASS] != ELFCLASS64 ||
      header.e_type != ET_REL || header.e_machine != EM_X86_64 || header.e_shentsize != sizeof(Elf64_Shdr))
    bad("not a relocatable x86-64 ELF file");

  std::vector<Elf64_Shdr> sections;
  for (size_t i = 0; i < header.e_shnum; ++i)
    sections.push_back(file.read<Elf64_Shdr>(header.e_shoff + i * sizeof(Elf64_Shdr)));
  std::vector<uint64_t> place(sections.size(), UINT64_MAX);  // offset in memory
  size_t size = 0, symbols = 0, relocations = 0;
  for (size_t i = 0; i < sections.size(); ++i) {
    const Elf64_Shdr& s = sections[i];
    if (s.sh_type == SHT_SYMTAB) symbols = i;
    if (s.sh_type == SHT_RELA) relocations += s.sh_size / sizeof(Elf64_Rela);
    if (!(s.sh_flags & SHF_ALLOC) || s.sh_size == 0 || s.sh_type == SHT_X86_64_UNWIND) continue;
    if (s.sh_flags & SHF_WRITE) bad("it has writable data");
    if (s.sh_type != SHT_NOBITS && (s.sh_offset > bytes.size() || s.sh_size > bytes.size() - s.sh_offset))
      bad("a section lies outside");
    if (s.sh_addralign > kPage || s.sh_size > (size_t{1} << 31)) bad("a section is too large");
    size = round_up(size, s.sh_addralign ? s.sh_addralign : 1);
    place[i] = size;
    size += s.sh_size;
  }
  const size_t stubs = round_up(size, kStubBytes);  // one for each relocation is enough
  const size_t total = round_up(stubs + relocations * kStubBytes, kPage);

  std::shared_ptr<LoadedObject> object(new LoadedObject);
  object->size_ = total;
  void* memory = mmap(nullptr, total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw DeviceError("no memory for machine code");
  object->memory_ = memory;
  auto* base = static_cast<unsigned char*>(memory);
  for (size_t i = 0; i < sections.size(); ++i)
    if (place[i] != UINT64_MAX && sections[i].sh_type != SHT_NOBITS)
      std::memcpy(base + place[i], bytes.data() + sections[i].sh_offset, sections[i].sh_size);

  if (!symbols || sections[symbols].sh_link >= sections.size()) bad("it has no symbols");
  const Elf64_Shdr& table = sections[symbols];
  const Elf64_Shdr& names = sections[table.sh_link];
  const size_t symbol_count = table.sh_size / sizeof(Elf64_Sym);
  auto symbol = [&](size_t i) {
    if (i >= symbol_count) bad("a symbol lies outside");
    return file.read<Elf64_Sym>(table.sh_offset + i * sizeof(Elf64_Sym));
  };
  auto address = [&](const Elf64_Sym& s) -> uint64_t {  // 0: external
    if (s.st_shndx == SHN_UNDEF) return 0;
    if (s.st_shndx >= sections.size() || place[s.st_shndx] == UINT64_MAX ||
        s.st_value > sections[s.st_shndx].sh_size)
      bad("a symbol has no place");
    return reinterpret_cast<uint64_t>(base) + place[s.st_shndx] + s.st_value;
  };

  size_t next_stub = 0;
  std::map<std::string, uint64_t> stub_of;
  auto stub = [&](const std::string& name) {  // address of a jump to the function, followed by its address
    uint64_t& known = stub_of[name];
    if (known) return known;
    for (const External& e : kExternals) {
      if (name != e.name) continue;
      unsigned char* at = base + stubs + kStubBytes * next_stub++;
      const unsigned char jump[8] = {0xff, 0x25, 2, 0, 0, 0, 0x66, 0x90};
      std::memcpy(at, jump, sizeof jump);
      std::memcpy(at + 8, &e.address, 8);
      return known = reinterpret_cast<uint64_t>(at);
    }
    bad("it calls " + name);
  };
  for (size_t i = 0; i < sections.size(); ++i) {
    const Elf64_Shdr& s = sections[i];
    if (s.sh_type != SHT_RELA || s.sh_info >= sections.size() || place[s.sh_info] == UINT64_MAX) continue;
    for (uint64_t r = 0; r < s.sh_size / sizeof(Elf64_Rela); ++r) {
      const auto rela = file.read<Elf64_Rela>(s.sh_offset + r * sizeof(Elf64_Rela));
      const Elf64_Sym sym = symbol(ELF64_R_SYM(rela.r_info));
      const auto type = ELF64_R_TYPE(rela.r_info);
      const size_t width = type == R_X86_64_64 ? 8 : 4;
      const uint64_t room = sections[s.sh_info].sh_size;
      if (rela.r_offset > room || room - rela.r_offset < width) bad("a relocation lies outside");
      unsigned char* where = base + place[s.sh_info] + rela.r_offset;
      uint64_t target = address(sym);
      const bool got =
          type == R_X86_64_GOTPCREL || type == R_X86_64_GOTPCRELX || type == R_X86_64_REX_GOTPCRELX;
      if (target == 0)
        target = stub(file.text(names, sym.st_name)) + (got ? 8 : 0);
      else if (got)
        bad("it has a global offset table");
      const uint64_t value = target + static_cast<uint64_t>(rela.r_addend);
      if (type == R_X86_64_64) {
        std::memcpy(where, &value, 8);
      } else if (type == R_X86_64_PC32 || type == R_X86_64_PLT32 || got) {
        const auto distance = static_cast<int64_t>(value - reinterpret_cast<uint64_t>(where));
        const auto narrow = static_cast<int32_t>(distance);
        if (narrow != distance) bad("a jump is too far");
        std::memcpy(where, &narrow, 4);
      } else {
        bad(fmt::format("relocation type {}", type));
      }
    }
  }
  for (size_t i = 0; i < symbol_count; ++i) {
    const Elf64_Sym s = symbol(i);
    if (ELF64_ST_BIND(s.st_info) == STB_GLOBAL && s.st_shndx != SHN_UNDEF)
      object->functions_[file.text(names, s.st_name)] = reinterpret_cast<void*>(address(s));
  }
  if (mprotect(memory, total, PROT_READ | PROT_EXEC) != 0)
    throw DeviceError("machine code cannot be made executable");
  return object;
}

}  // namespace tenfold
