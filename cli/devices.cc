// tenfold devices
#include "tenfold/target/devices.h"

#include <iostream>

#include "tenfold/compile/compile.h"
#include "tenfold/target/cpu.h"

#include "commands.h"

namespace tenfold::cli {

void add_devices(CLI::App& app) {
  app.add_subcommand("devices", "what this machine can run on, and what is missing for the rest")
      ->callback([] {
        std::cout << fmt::format("{:<12} instruction sets {}; machine record {}\n", "cpu",
                                 fmt::join(runnable_isas(), ", "), compile::current_machine().name);
        for (const DeviceRow& row : list_devices())
          std::cout << fmt::format("{:<12} {}{}\n", row.name, row.description,
                                   row.machine.empty() ? "" : "; machine record " + row.machine);
      });
}

}  // namespace tenfold::cli
