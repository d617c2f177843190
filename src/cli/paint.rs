//! Standard output: colour where it is wanted, and no fuss when the reader goes away.

use std::io::{ErrorKind, Write};

use anstyle::{AnsiColor, Style};
use clap::ColorChoice;
use rbees_check::judge::Status;
use rbees_check::{Error, Result};

/// Where results go.
pub struct Out {
    stream: Box<dyn Write>,
    name: &'static str,
    /// The reader is gone (`| head`): what is left to say goes nowhere, the exit code still counts.
    closed: bool,
}

impl Out {
    /// Standard output; `NO_COLOR` and `CLICOLOR_FORCE` decide where `choice` does not.
    pub fn new(choice: ColorChoice) -> Self {
        match choice {
            ColorChoice::Auto => anstream::ColorChoice::Auto,
            ColorChoice::Always => anstream::ColorChoice::Always,
            ColorChoice::Never => anstream::ColorChoice::Never,
        }
        .write_global();
        Self { stream: Box::new(anstream::stdout()), name: "standard output", closed: false }
    }

    /// Standard error, where standard output belongs to a report.
    pub fn aside() -> Self {
        Self { stream: Box::new(anstream::stderr()), name: "standard error", closed: false }
    }

    /// Standard output for a report: no colour, ever.
    pub fn plain() -> Self {
        Self { stream: Box::new(std::io::stdout()), name: "standard output", closed: false }
    }

    /// Text as it is, at once.
    pub fn text(&mut self, text: &str) -> Result<()> {
        if self.closed {
            return Ok(());
        }
        match self.stream.write_all(text.as_bytes()).and_then(|()| self.stream.flush()) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => self.closed = true,
            Err(error) => return Err(Error::input(format!("{}: {error}", self.name), "is the disk full?")),
            Ok(()) => {}
        }
        Ok(())
    }

    /// A line.
    pub fn line(&mut self, line: impl AsRef<str>) -> Result<()> {
        self.text(&format!("{}\n", line.as_ref()))
    }

    /// Has the reader gone?
    pub fn closed(&self) -> bool {
        self.closed
    }
}

/// The first word of `text`, a status, in the colour of `status`.
pub fn status(text: &str, status: Status) -> String {
    let color = match status {
        Status::Passed => AnsiColor::Green,
        Status::Failed => AnsiColor::Red,
        Status::Skipped | Status::Expected => AnsiColor::Yellow,
        Status::NotJudged => AnsiColor::Magenta,
    };
    let (word, rest) = text.split_at(text.find(' ').unwrap_or(text.len()));
    let style = Style::new().bold().fg_color(Some(color.into()));
    format!("{style}{word}{style:#}{rest}")
}

/// A heading.
pub fn heading(text: &str) -> String {
    let style = Style::new().bold();
    format!("{style}{text}{style:#}")
}
