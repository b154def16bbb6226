//! Which rule takes a request, and why not the others?
//!
//! ```sh
//! cargo run -p evenkeel-examples --example route_match
//! ```

use evenkeel_route::matching::{
    HeaderMatch, HttpRule, HttpRules, HttpRulesConfig, PathMatch, Request, Scratch, ValueMatch,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let rule = |name: &str, host: &str, path: PathMatch| -> Result<HttpRule, Box<dyn std::error::Error>> {
        Ok(HttpRule {
            name: name.into(),
            hosts: vec![host.parse()?],
            paths: vec![path],
            ..HttpRule::default()
        })
    };
    let beta = HeaderMatch { name: "x-beta".into(), test: ValueMatch::Exact("yes".into()), invert: false };
    let config = HttpRulesConfig {
        rules: vec![
            HttpRule {
                headers: vec![beta],
                ..rule("beta", "*.example.com", PathMatch::Prefix("/users".into()))?
            },
            rule("posts", "*.example.com", PathMatch::Template("/users/{id}/posts/{*rest}".into()))?,
            rule("users", "*.example.com", PathMatch::Prefix("/users".into()))?,
            rule("one user", "api.example.com", PathMatch::Exact("/users/me".into()))?,
        ],
        ..HttpRulesConfig::default()
    };
    let rules = HttpRules::new(&config)?;
    for shadow in rules.shadowed() {
        println!(
            "{:?} never takes a request: {:?} does",
            config.rules[shadow.rule].name, config.rules[shadow.by].name
        );
    }

    let mut scratch = Scratch::default();
    for target in ["/users/42/posts/a/b", "/users/../users/%7Eanna", "/login"] {
        let request = Request::new("GET", "API.example.com:443", target);
        print!("{target}: ");
        match rules.find(&request, &mut scratch)? {
            Some(found) => {
                print!(
                    "{:?}, sent on as {}",
                    config.rules[found.rule()].name,
                    String::from_utf8_lossy(found.path())
                );
                for (name, value) in found.captures() {
                    print!(", {name}={}", String::from_utf8_lossy(value));
                }
                println!();
            }
            None => println!("no rule"),
        }
        for other in rules.explain(&request, &mut scratch)?.passed {
            println!("    not {:?}: {:?}", other.name, other.because);
        }
    }
    Ok(())
}
