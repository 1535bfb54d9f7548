// The tenfold command.
#include <cstdio>
#include <fstream>
#include <iostream>

#include <CLI/CLI.hpp>

#include "tenfold/base/error.h"

#include "commands.h"

int main(int count, char** arguments) {
  CLI::App app{"tenfold compiles tensor programs: many operations, folded into one pass."};
  app.set_version_flag("--version", "tenfold " TENFOLD_VERSION);
  app.require_subcommand(1);
  tenfold::cli::add_run(app);
  tenfold::cli::add_explain(app);
  tenfold::cli::add_plan(app);
  tenfold::cli::add_probe(app);
  tenfold::cli::add_knobs(app);
  tenfold::cli::add_rollout(app);
  tenfold::cli::add_devices(app);
  try {
    app.parse(count, arguments);
  } catch (const CLI::ParseError& error) {
    return app.exit(error);
  } catch (const tenfold::UserError& error) {
    std::cerr << "tenfold: " << error.what() << "\n";
    return 1;
  } catch (const std::exception& error) {
    std::cerr << "tenfold: " << error.what() << "\n";
    return 3;
  }
  return 0;
}
