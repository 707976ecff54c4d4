//! Usage, and errors that need no model.

use crate::desk::Desk;

#[test]
fn a_usage_error_ends_with_2_and_a_failure_with_1() {
    let desk = Desk::bare();
    for arguments in [
        &["--no-such-option"][..],
        &["frobnicate"],
        &["check"],
        &["generate"],
        &["serve", "--port", "70000"],
        &["serve", "--device", "gpu"],
        &["generate", "--prompt", "x", "--temperature", "nan"],
        &["generate", "--prompt", "x", "--max-tokens", "0"],
        &["inspect", "hf:only-an-org"],
        &["pull", "random:llama"],
    ] {
        let outcome = desk.run(arguments);
        assert_eq!(outcome.code, Some(2), "{arguments:?}: {outcome:?}");
        assert!(outcome.out.is_empty() && outcome.err.contains("error:"), "{outcome:?}");
    }
    assert_eq!(desk.run(&["check", "no-such.toml"]).code, Some(1));
}

#[test]
fn help_names_every_command() {
    let outcome = Desk::bare().run(&["--help"]);
    assert_eq!(outcome.code, Some(0));
    for command in ["check", "generate", "inspect", "key", "pull", "serve"] {
        assert!(outcome.out.contains(&format!("\n  {command} ")), "{}", outcome.out);
    }
}

#[test]
fn a_model_that_is_not_there_or_is_none_is_refused_one_line_a_cause() {
    let desk = Desk::bare();
    desk.write("words.gguf", "these are words");
    let missing = desk.run(&["serve", "--model", "no-such.gguf"]);
    assert_eq!(missing.code, Some(1));
    assert_eq!(
        missing.err,
        "error: no model at no-such.gguf; a model is the path of a GGUF file or of a folder with a \
         config.json, hf:ORG/REPO[/FILE], pypi:PACKAGE==VERSION/FILE or \
         random:CONFIG.json[:TYPE][@SEED]\n  because: No such file or directory (os error 2)\n"
    );
    let folder = desk.run(&["inspect", "."]);
    assert_eq!(folder.code, Some(1));
    assert_eq!(
        folder.err,
        "error: cannot read the model .\n  because: `config.json`: it is missing\n"
    );
    for arguments in [
        &["inspect", "words.gguf"][..],
        &["serve", "--port", "0", "--model", "words.gguf"],
        &["generate", "--prompt", "x", "--model", "words.gguf"],
    ] {
        let outcome = desk.run(arguments);
        assert_eq!(outcome.code, Some(1), "{arguments:?}: {outcome:?}");
        assert!(
            outcome.err.starts_with("error: cannot read the model words.gguf\n  because: "),
            "{outcome:?}"
        );
    }
}

#[test]
fn without_a_home_a_model_of_the_cache_is_refused() {
    let output =
        Desk::bare().command(&["pull", "hf:o/r/f.gguf"]).env_remove("HOME").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(err.contains("set HOME or XDG_CACHE_HOME"), "{err}");
}
