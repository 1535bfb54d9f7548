// The subcommands, each in its own file.
#pragma once

#include <CLI/CLI.hpp>

namespace tenfold::cli {

void add_run(CLI::App&);
void add_explain(CLI::App&);
void add_plan(CLI::App&);
void add_probe(CLI::App&);
void add_knobs(CLI::App&);
void add_rollout(CLI::App&);
void add_devices(CLI::App&);

}  // namespace tenfold::cli
