//! The program for another kind of device, beside this one. Candle links CUDA's libraries so that a program with CUDA
//! does not even start without them, not even for `--device cpu`; so it is a second program, `rbees-check-cuda`.

use std::env;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rbees_check::Error;

use super::escape::one_line;

/// Set for the other program, so that a copy of this one under its name does not start itself without end.
const STARTED: &str = "RBEES_CHECK_STARTED_BY_SIBLING";

/// The path of `rbees-check-NAME`: beside this program, or the first on PATH.
pub fn find(name: &str) -> Option<PathBuf> {
    let file = format!("rbees-check-{name}{}", env::consts::EXE_SUFFIX);
    let beside = env::current_exe().ok().and_then(|own| Some(own.parent()?.to_owned()));
    let path = env::var_os("PATH").unwrap_or_default();
    beside
        .into_iter()
        .chain(env::split_paths(&path))
        .map(|folder| folder.join(&file))
        .find(|path| path.is_file())
}

/// Runs `rbees-check-NAME` with the arguments of this program, in its place. It returns only if that is impossible:
/// with the reason.
pub fn run(name: &str, device: &str) -> Error {
    let hint = format!("build it with scripts/build_{name}.sh, or use --device cpu");
    let Some(program) = find(name).filter(|_| env::var_os(STARTED).is_none()) else {
        let what = format!(
            "--device {device}: this build has no support for it, and there is no rbees-check-{name} beside it or on PATH"
        );
        return Error::input(what, hint);
    };
    let shown = one_line(&program.display().to_string());
    // The loader's message about a missing library comes before the program could say anything.
    let tried = Command::new(&program).arg("--version").env(STARTED, "1").stdin(Stdio::null()).output();
    match tried {
        Err(error) => return Error::input(format!("{shown}: {error}"), hint),
        Ok(output) if !output.status.success() => {
            let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
            return not_loaded(&shown, &stderr);
        }
        Ok(_) => {}
    }
    let mut command = Command::new(&program);
    command.args(env::args_os().skip(1)).env(STARTED, "1");
    let error = replaced_by(&mut command);
    Error::input(format!("{shown}: {error}"), hint)
}

/// Why the loader could not start the program, from its message:
/// `…: error while loading shared libraries: libcudart.so.13: cannot open shared object file: …`.
fn not_loaded(program: &str, stderr: &str) -> Error {
    let library = stderr.split("loading shared libraries: ").nth(1).and_then(|rest| rest.split(':').next());
    let Some(library) = library else {
        let line = one_line(stderr.lines().next().unwrap_or("it ended without a message"));
        return Error::input(
            format!("{program} does not start: {line}"),
            "build it again, or use --device cpu",
        );
    };
    let library = one_line(library);
    let hint = if library.starts_with("libcuda.") {
        "it is part of NVIDIA's driver: install the driver, or use --device cpu".to_owned()
    } else {
        "put the folder of CUDA 13's libraries on LD_LIBRARY_PATH, for example site-packages/nvidia/cu13/lib of a PyTorch \
         for CUDA 13"
            .to_owned()
    };
    Error::input(format!("{program} needs the library {library}, which is not found"), hint)
}

/// Replaces this process; returns only if that fails.
#[cfg(unix)]
fn replaced_by(command: &mut Command) -> std::io::Error {
    use std::os::unix::process::CommandExt;
    command.exec()
}

/// Runs the program, and ends with its exit code; returns only if it cannot be started.
#[cfg(not(unix))]
fn replaced_by(command: &mut Command) -> std::io::Error {
    match command.status() {
        Ok(status) => std::process::exit(status.code().unwrap_or(2)),
        Err(error) => error,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::runtime("libcudart.so.13", "LD_LIBRARY_PATH")]
    #[case::driver("libcuda.so.1", "NVIDIA's driver")]
    fn a_missing_library_is_named(#[case] library: &str, #[case] hint: &str) {
        let stderr = format!(
            "x/rbees-check-cuda: error while loading shared libraries: {library}: cannot open shared object file: No such \
             file or directory\n"
        );
        let error = not_loaded("x/rbees-check-cuda", &stderr);
        assert_eq!(
            error.to_string(),
            format!("x/rbees-check-cuda needs the library {library}, which is not found")
        );
        assert!(error.hint().unwrap().contains(hint));
    }

    #[test]
    fn another_failure_shows_its_first_line() {
        let error = not_loaded("rbees-check-cuda", "Illegal\u{1b}[31m instruction\nmore");
        assert_eq!(error.to_string(), "rbees-check-cuda does not start: Illegal\\u{1b}[31m instruction");
    }
}
