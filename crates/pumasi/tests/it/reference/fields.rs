//! The configuration's fields with their doc comments, read from the structs themselves.

use std::path::Path;

/// A table of the configuration file.
pub(crate) struct Section {
    /// `broker`, or `queues[]` for a list of tables, or `queues[].retry` for a table in each.
    pub(crate) key: String,
    /// What the struct's own comment says.
    pub(crate) about: String,
    pub(crate) fields: Vec<Field>,
}

/// A key of a section.
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) about: String,
}

/// Which struct each section is read into, in the order of the page.
const SECTIONS: [(&str, &str); 10] = [
    ("broker", "ConnectionSettings"),
    ("queues[]", "QueueSpec"),
    ("topics[]", "TopicSpec"),
    ("worker", "WorkerConfig"),
    ("worker.retry", "RetryPolicy"),
    ("worker.handlers[]", "HandlerConfig"),
    ("worker.handlers[].http", "HttpConfig"),
    ("gateway", "GatewayConfig"),
    ("health", "HealthConfig"),
    ("telemetry", "TelemetryConfig"),
];

/// Every section with its fields.
pub(crate) fn sections() -> Vec<Section> {
    let mut sections: Vec<Section> = SECTIONS.into_iter().map(section).collect();
    let nested: Vec<String> = sections
        .iter()
        .map(|section| section.key.trim_end_matches("[]").to_owned())
        // A table in an entry of a list is named there, too.
        .filter(|key| !key.contains("[]"))
        .collect();
    for section in &mut sections {
        let key = section.key.clone();
        // A table below it has a section of its own.
        section
            .fields
            .retain(|field| !nested.contains(&format!("{key}.{}", field.name)));
    }
    sections
}

fn section((key, name): (&str, &str)) -> Section {
    let head = format!("pub struct {name} {{");
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let source = source_with(&crates, &head).unwrap_or_else(|| panic!("no {name}"));
    let mut about = String::new();
    let mut fields = Vec::new();
    let mut found = None;
    let mut in_attribute = false;
    for line in source.lines().map(str::trim) {
        if in_attribute || line.starts_with("#[") {
            in_attribute = !line.ends_with(']');
        } else if let Some(text) = line.strip_prefix("///") {
            about.push_str(text);
            about.push('\n');
        } else if line == head {
            found = Some(std::mem::take(&mut about));
        } else if found.is_some() && line == "}" {
            break;
        } else if let (Some(_), Some(field)) = (&found, line.strip_prefix("pub ")) {
            let (name, _) = field.split_once(':').unwrap();
            fields.push(Field {
                name: name.to_owned(),
                about: one_line(&std::mem::take(&mut about)),
            });
        } else {
            about.clear();
        }
    }
    Section {
        key: key.to_owned(),
        about: found.unwrap_or_default(),
        fields,
    }
}

/// The first source file below this folder that holds the text.
fn source_with(folder: &Path, text: &str) -> Option<String> {
    std::fs::read_dir(folder).ok()?.flatten().find_map(|entry| {
        let path = entry.path();
        if path.is_dir() {
            return source_with(&path, text);
        }
        let is_rust = path.extension().is_some_and(|extension| extension == "rs");
        let source = is_rust.then(|| std::fs::read_to_string(&path).ok())??;
        source.contains(text).then_some(source)
    })
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
