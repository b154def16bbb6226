//! Input that would cost too much, or that leads elsewhere.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::fs;
use std::path::PathBuf;

use evenkeel_config::{Bounds, Loaded, Problem, Syntax};

fn problem(text: &str, syntax: Syntax) -> Problem {
    let errors = Loaded::parse(text, syntax).expect_err("it is too much");
    errors.all()[0].problem().clone()
}

/// A folder of its own, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("evenkeel-config-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    fn errors(&self, name: &str) -> String {
        let errors =
            Loaded::load(self.0.join(name)).and_then(|loaded| loaded.check()).expect_err("it is wrong");
        errors.to_string().replace(&format!("{}/", self.0.display()), "")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_file_of_a_hundred_megabytes_is_not_read() {
    let folder = Folder::new("large");
    let path = folder.write("large.toml", "");
    // Sparse: it takes no room on the disk.
    fs::File::options().write(true).open(&path).unwrap().set_len(100 << 20).unwrap();
    assert_eq!(
        folder.errors("large.toml"),
        "large.toml:1:1: more than 33554432 bytes in all, which is the limit"
    );
}

#[test]
fn aliases_count_as_what_they_stand_for() {
    let mut text = "a: &a [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for pair in b"abcdefghijk".windows(2) {
        let (from, to) = (char::from(pair[0]), char::from(pair[1]));
        let aliases = vec![format!("*{from}"); 10].join(",");
        text += &format!("{to}: &{to} [{aliases}]\n");
    }
    assert!(matches!(problem(&text, Syntax::Yaml), Problem::TooManyValues { limit: 4_000_000 }));
}

#[test]
fn deep_nesting_ends_in_an_error() {
    let many = 200_000;
    let lists = format!("a = {}{}", "[".repeat(many), "]".repeat(many));
    let found = problem(&lists, Syntax::Toml);
    assert!(matches!(found, Problem::Syntax(_) | Problem::TooDeep { .. }), "{found:?}");
    let dotted = format!("{} = 1", ["a"].repeat(many).join("."));
    let found = problem(&dotted, Syntax::Toml);
    assert!(matches!(found, Problem::Syntax(_) | Problem::TooDeep { .. }), "{found:?}");
    let json = format!("{{\"a\": {}", "[".repeat(many));
    assert_eq!(problem(&json, Syntax::Json), Problem::TooDeep { limit: 48 });
    let yaml = format!("a: {}", "[".repeat(many));
    let found = problem(&yaml, Syntax::Yaml);
    assert!(matches!(found, Problem::Syntax(_) | Problem::TooDeep { .. }), "{found:?}");
}

#[test]
fn many_values_end_in_an_error() {
    let list = format!("a = [{}]", "1,".repeat(1000));
    let bounds = Bounds { values: 100, ..Bounds::default() };
    for (text, syntax) in
        [(list.as_str(), Syntax::Toml), ("a: [1,2,3,4]", Syntax::Yaml), ("{\"a\":[1,2,3]}", Syntax::Json)]
    {
        let bounds = if text.len() < 100 { Bounds { values: 3, ..bounds } } else { bounds };
        let errors = Loaded::parse_within(text, syntax, bounds).expect_err("it is too much");
        assert!(matches!(errors.all()[0].problem(), Problem::TooManyValues { .. }), "{errors}");
    }
}

#[test]
fn included_files_go_on_where_lists_end() {
    let folder = Folder::new("include");
    let main = folder.write(
        "main.toml",
        "include = [\"conf.d/*.toml\", \"conf.d/*.yaml\"]\n[[clusters]]\nname = \"a\"\n[http.fallbacks]\na = \"b\"\n",
    );
    folder.write(
        "conf.d/1.toml",
        "[[clusters]]\nname = \"b\"\n[[http.routes]]\nname = \"r\"\naction = { cluster = \"a\" }\n",
    );
    folder.write("conf.d/2.yaml", "clusters: [{ name: c }]\nhttp: { fallbacks: { b: c } }\n");
    folder.write("conf.d/.hidden.toml", "nonsense");
    let loaded = Loaded::load(&main).unwrap();
    let names: Vec<&str> = loaded.config().clusters.iter().map(|one| one.cluster.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert_eq!(loaded.config().http.fallbacks.len(), 2);
    assert_eq!(loaded.files().len(), 3);
    loaded.check().unwrap();
}

#[test]
fn what_stands_in_two_files_names_both() {
    let folder = Folder::new("twice");
    folder.write("main.toml", "include = [\"more/*.toml\"]\ntick = \"1s\"\n[[clusters]]\nname = \"a\"\n");
    folder.write("more/x.toml", "\n[[clusters]]\nname = \"a\"\n");
    assert_eq!(
        folder.errors("main.toml"),
        "more/x.toml:3:8: clusters[1].name: \"a\" stands here a second time; the first is in main.toml:4"
    );
    folder.write("more/x.toml", "tick = \"2s\"\n");
    assert_eq!(
        folder.errors("main.toml"),
        "more/x.toml:1:1: tick: is given in two files; the other one is main.toml:2"
    );
    folder.write("more/x.toml", "[[clusters]]\nname = \"b\"\npolicy = \"rendom\"\n");
    let said = folder.errors("main.toml");
    assert!(said.starts_with("more/x.toml:3:10: clusters[1].policy: "), "{said}");
}

#[test]
fn includes_stay_in_their_folder() {
    let folder = Folder::new("escape");
    folder.write("outside.toml", "");
    for (include, said) in [
        ("../outside.toml", "leaves the folder of the main file"),
        ("/etc/passwd", "leaves the folder of the main file"),
        ("*/a.toml", "only the name of the file may hold a *"),
        ("missing.toml", "missing.toml"),
        ("", "names no file"),
    ] {
        folder.write("in/main.toml", &format!("include = [{include:?}]"));
        let errors = folder.errors("in/main.toml");
        assert!(errors.starts_with("in/main.toml:1:12: include[0]: ") && errors.contains(said), "{errors}");
    }
    folder.write("in/main.toml", "include = [\"more.toml\"]");
    folder.write("in/more.toml", "include = [\"main.toml\"]");
    assert_eq!(
        folder.errors("in/main.toml"),
        "in/more.toml:1:1: include: only the main file includes others"
    );
    #[cfg(unix)]
    {
        fs::remove_file(folder.0.join("in/more.toml")).unwrap();
        std::os::unix::fs::symlink(folder.0.join("outside.toml"), folder.0.join("in/more.toml")).unwrap();
        let errors = folder.errors("in/main.toml");
        assert!(errors.contains("leads out of the folder of the main file"), "{errors}");
    }
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let folder = Folder::new("unreadable");
    folder.write("a.ini", "");
    fs::create_dir_all(folder.0.join("b.toml")).unwrap();
    fs::write(folder.0.join("c.toml"), [b'a', 0xff]).unwrap();
    assert!(
        folder.errors("a.ini").starts_with("a.ini:1:1: the ending of the file"),
        "{}",
        folder.errors("a.ini")
    );
    assert!(folder.errors("b.toml").contains("it is not a file"), "{}", folder.errors("b.toml"));
    assert!(folder.errors("c.toml").contains("byte 1 is not UTF-8"), "{}", folder.errors("c.toml"));
    assert!(folder.errors("d.toml").contains("cannot be read"), "{}", folder.errors("d.toml"));
}
