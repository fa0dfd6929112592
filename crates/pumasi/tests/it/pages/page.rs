//! A tutorial page as steps: what its fenced blocks say a reader types and sees.
//!
//! A block ```` ```console NAME ```` is what terminal NAME shows: `$ ` begins a line that is
//! typed, `^C` is the key, all else is output. A block ```` ```LANGUAGE FILE ```` with a dot in
//! its last word is a file to save. In output `…` stands for any text, on a line of its own for
//! any number of lines.

use std::path::Path;

/// What a reader does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Saves a file.
    Save { name: String, text: String },
    /// Looks at a terminal and types into it.
    Terminal { name: String, acts: Vec<Act> },
}

/// One exchange with a terminal: what is typed, then what is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Act {
    pub(crate) typed: Typed,
    pub(crate) shown: Vec<String>,
}

/// What is typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Typed {
    /// Nothing: the program that runs says more.
    Nothing,
    /// A command line.
    Line(String),
    /// Ctrl-C.
    Interrupt,
}

/// The steps of a page.
pub(crate) fn read(path: &Path) -> Vec<Step> {
    let text =
        std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut steps = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(info) = line.strip_prefix("```") else {
            assert!(!line.starts_with("    "), "a block without a fence: {line}");
            continue;
        };
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        match info.split_once(' ') {
            Some(("console", name)) => steps.push(Step::Terminal {
                name: name.to_owned(),
                acts: acts(&block),
            }),
            Some((_, name)) if name.contains('.') => steps.push(Step::Save {
                name: name.to_owned(),
                text: block.join("\n") + "\n",
            }),
            _ => panic!("{}: what is a block of `{info}`?", path.display()),
        }
    }
    steps
}

fn acts(block: &[&str]) -> Vec<Act> {
    let mut acts: Vec<Act> = Vec::new();
    for line in block {
        let typed = match line.strip_prefix("$ ") {
            Some(command) => Some(Typed::Line(command.to_owned())),
            None if *line == "^C" => Some(Typed::Interrupt),
            None if acts.is_empty() => Some(Typed::Nothing),
            None => None,
        };
        let is_output = !matches!(typed, Some(Typed::Line(_) | Typed::Interrupt));
        acts.extend(typed.map(|typed| Act {
            typed,
            shown: Vec::new(),
        }));
        if let Some(act) = acts.last_mut().filter(|_| is_output) {
            act.shown.push((*line).to_owned());
        }
    }
    acts
}
