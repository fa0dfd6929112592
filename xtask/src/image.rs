//! Container images without a registry: static binaries built on this host, on an empty base.

use crate::process::{Result, run_with};
use std::{fs, path::Path};

/// What is built, and the image that each becomes.
const PROGRAMS: [&str; 3] = ["pumasi-producer", "pumasi-worker", "pumasi"];

/// Whom TLS clients trust, on Debian and on most others.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// The numeric user of the images: it needs no entry in any file.
const USER: &str = "65532:65532";

/// Builds `pumasi-producer`, `pumasi-worker` and `pumasi` with the workspace's version as the tag.
pub(crate) fn build(host: &str) -> Result {
    let mut arguments = vec!["build", "--release", "--locked", "--target", host];
    for program in PROGRAMS {
        arguments.extend(["--package", program]);
    }
    let flags = [("RUSTFLAGS", "-C target-feature=+crt-static")];
    run_with("cargo", &arguments, &flags)?;
    let target = std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".to_owned());
    let binaries = Path::new(&target).join(host).join("release");
    for program in PROGRAMS {
        let context = Path::new(&target).join("image").join(program);
        assemble(program, &binaries, &context)
            .map_err(|error| format!("cannot assemble {}: {error}", context.display()))?;
        let tag = format!("{program}:{}", env!("CARGO_PKG_VERSION"));
        run_with(
            "docker",
            &["build", "--tag", &tag, &context.display().to_string()],
            &[],
        )?;
    }
    Ok(())
}

/// Puts a program and what its image needs besides into a folder.
fn assemble(program: &str, binaries: &Path, context: &Path) -> std::io::Result<()> {
    if context.exists() {
        fs::remove_dir_all(context)?;
    }
    fs::create_dir_all(context)?;
    fs::copy(binaries.join(program), context.join(program))?;
    fs::copy(AUTHORITIES, context.join("ca-certificates.crt"))?;
    let recipe = format!(
        "FROM scratch\n\
         COPY ca-certificates.crt {AUTHORITIES}\n\
         COPY {program} /{program}\n\
         USER {USER}\n\
         ENTRYPOINT [\"/{program}\"]\n"
    );
    fs::write(context.join("Dockerfile"), recipe)
}
