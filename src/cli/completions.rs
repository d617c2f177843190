//! `completions`: prints a script with which a shell completes the commands and flags of this program.

use clap::{Args, Command};
use clap_complete::Shell;
use rbees_check::Result;

use super::ending::Ending;
use super::paint::Out;

#[derive(Args, Debug)]
pub struct Completions {
    /// Shell to print the script for
    #[arg(value_name = "SHELL", value_enum)]
    shell: Shell,
}

impl Completions {
    /// Prints the script for `command`, which describes the whole program.
    pub fn perform(self, mut command: Command) -> Result<Ending> {
        let name = command.get_name().to_owned();
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, name, &mut script);
        Out::plain().text(&String::from_utf8_lossy(&script))?;
        Ok(Ending::Passed)
    }
}
