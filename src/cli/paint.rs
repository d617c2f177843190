//! Writes to standard output: uses colour if wanted, and stops quietly if the reader closes the stream.

use std::io::{ErrorKind, Write};

use anstyle::{AnsiColor, Style};
use clap::ColorChoice;
use rbees_check::judge::Status;
use rbees_check::{Error, Result};

/// The stream that results are written to.
pub struct Out {
    stream: Box<dyn Write>,
    name: &'static str,
    /// The reader closed the stream (`| head`). Further output is dropped; the exit code is still correct.
    closed: bool,
}

impl Out {
    /// Standard output. If `choice` is auto, `NO_COLOR` and `CLICOLOR_FORCE` decide.
    pub fn new(choice: ColorChoice) -> Self {
        match choice {
            ColorChoice::Auto => anstream::ColorChoice::Auto,
            ColorChoice::Always => anstream::ColorChoice::Always,
            ColorChoice::Never => anstream::ColorChoice::Never,
        }
        .write_global();
        Self { stream: Box::new(anstream::stdout()), name: "standard output", closed: false }
    }

    /// Standard error, used when a report goes to standard output.
    pub fn aside() -> Self {
        Self { stream: Box::new(anstream::stderr()), name: "standard error", closed: false }
    }

    /// Standard output for a report, always without colour.
    pub fn plain() -> Self {
        Self { stream: Box::new(std::io::stdout()), name: "standard output", closed: false }
    }

    /// Writes text unchanged and flushes it.
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

    /// Writes a line.
    pub fn line(&mut self, line: impl AsRef<str>) -> Result<()> {
        self.text(&format!("{}\n", line.as_ref()))
    }

    /// Whether the reader has closed the stream.
    pub fn closed(&self) -> bool {
        self.closed
    }
}

/// Colours the first word of `text`, a status, according to `status`.
pub fn status(text: &str, status: Status) -> String {
    let color = match status {
        Status::Passed => AnsiColor::Green,
        Status::Own => AnsiColor::Cyan,
        Status::Failed => AnsiColor::Red,
        Status::Skipped | Status::Expected => AnsiColor::Yellow,
        Status::NotJudged => AnsiColor::Magenta,
    };
    let (word, rest) = text.split_at(text.find(' ').unwrap_or(text.len()));
    let style = Style::new().bold().fg_color(Some(color.into()));
    format!("{style}{word}{style:#}{rest}")
}

/// Formats a heading.
pub fn heading(text: &str) -> String {
    let style = Style::new().bold();
    format!("{style}{text}{style:#}")
}
