//! What is made from the description of the commands: completions that shells take, and man pages.

#[allow(dead_code)]
mod support;

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use support::{command, vigia};

/// It is more than fits into a pipe.
fn completions(shell: &str) -> String {
    let output = command(&["completions", shell]).output().unwrap();
    assert!(output.status.success(), "{shell}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn completions_know_every_command_and_bash_understands_them() {
    for shell in ["bash", "zsh", "fish"] {
        let script = completions(shell);
        for word in ["watch", "doctor", "adopt-store", "token-file"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    let mut bash = Command::new("bash").arg("-n").stdin(Stdio::piped()).spawn().unwrap();
    bash.stdin.take().unwrap().write_all(completions("bash").as_bytes()).unwrap();
    assert!(bash.wait().unwrap().success());
    assert_eq!(vigia(&["completions", "cobol"]).code, 64);
}

#[test]
fn every_command_has_a_man_page_with_its_examples() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path().join("man1");
    vigia(&["man", dir.to_str().unwrap()]).succeeded();
    for page in ["vigia", "vigia-watch", "vigia-doctor", "vigia-cert", "vigia-cert-renew"] {
        let text = fs::read_to_string(dir.join(format!("{page}.1"))).unwrap();
        assert!(text.contains(".TH") && text.contains("Examples:"), "{page}");
    }
    assert!(!dir.join("vigia-leash.1").exists(), "that is not for people");
    let file = dir.join("vigia.1");
    assert_eq!(vigia(&["man", file.to_str().unwrap()]).code, 74, "a file is no directory");
}
