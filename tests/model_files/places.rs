//! Files that are missing, or something else than the file itself.

use super::*;

const POINTER: &str = "version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 1460768\n";

#[rstest]
#[case("model.safetensors")]
#[case("config.json")]
#[case("generation_config.json")]
fn a_git_lfs_pointer_is_named_as_one(#[case] file: &str) {
    let model = Model::new();
    model.write(file, POINTER);
    let (code, text) = model.run(JUDGE);
    let error =
        format!("error: {}: is a pointer of Git LFS, not the file itself\n", model.path(file).display());
    assert!(code == 2 && text.starts_with(&error), "{text}");
    assert!(text.contains("hint: run `git lfs pull` in its folder"), "{text}");
}

#[test]
fn a_gguf_file_that_is_a_git_lfs_pointer_is_named_as_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    fs::write(&path, POINTER).unwrap();
    let (code, text) = run(&path, JUDGE);
    assert!(
        code == 2 && text.contains("model.gguf: is a pointer of Git LFS") && text.contains("git lfs pull"),
        "{text}"
    );
}

#[cfg(unix)]
#[rstest]
#[case::config("config.json", 2)]
#[case::generation_config("generation_config.json", 2)]
#[case::weights("model.safetensors", 2)]
// The tokenizer is skipped with the reason, and the numbers are judged.
#[case::tokenizer("tokenizer.json", 0)]
fn a_pipe_or_a_device_in_place_of_a_file_is_refused(#[case] file: &str, #[case] exit: i32) {
    let pipe =
        |path: &Path| assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
    let device = |path: &Path| std::os::unix::fs::symlink("/dev/zero", path).unwrap();
    for place in [pipe as fn(&Path), device] {
        let model = Model::new();
        model.remove(file);
        place(&model.path(file));
        let (code, text) = model.run(JUDGE);
        assert_eq!(code, exit, "{text}");
        assert!(
            text.contains(file) && (text.contains("is not a regular file") || file == "model.safetensors"),
            "{text}"
        );
    }
}
