//! What is deployed fits what is built: `k8s/base` as kubectl renders it, and `deploy/compose.yaml`.

use pumasi_testkit::{process::program, rabbitmq::free_port};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

/// Where `cargo xtask test` puts kubectl where the machine has none.
const KUBECTL: &str = "/var/cache/pumasi-testkit/kubectl";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every object of `k8s/base`, by kind and name; `None` where there is no kubectl.
fn render() -> Option<Vec<Value>> {
    let output = [KUBECTL, "kubectl"].iter().find_map(|kubectl| {
        let mut command = Command::new(kubectl);
        command.arg("kustomize").arg(root().join("k8s/base"));
        command.output().ok()
    });
    let Some(output) = output else {
        eprintln!("left out: kubectl is not here");
        return None;
    };
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let text = String::from_utf8(output.stdout).unwrap();
    Some(serde_saphyr::from_multiple(&text).unwrap())
}

fn one<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let mut found = objects.iter().filter(|object| {
        let own = object["metadata"]["name"].as_str().unwrap();
        object["kind"] == kind && (own == name || own.starts_with(&format!("{name}-")))
    });
    let object = found.next().unwrap_or_else(|| panic!("no {kind} {name}"));
    assert_eq!(found.next(), None, "one {kind} {name}");
    object
}

/// The configuration that both Deployments mount, as text and as a table.
fn configuration(objects: &[Value]) -> (&str, toml::Table) {
    let text = one(objects, "ConfigMap", "pumasi")["data"]["pumasi.toml"]
        .as_str()
        .unwrap();
    (text, text.parse().unwrap())
}

fn seconds(text: &str) -> u64 {
    humantime::parse_duration(text).unwrap().as_secs()
}

/// The effective value of a setting with this configuration.
fn setting(file: &Path, key: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_pumasi"))
        .args(["--json", "config", "show", "--config"])
        .arg(file)
        .output()
        .unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    let values = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut found = values.filter(|value| value["key"] == key);
    found.next().unwrap()["value"].as_str().unwrap().to_owned()
}

/// Starts a service with these settings on a broker that is absent: it must get as far as that.
fn accepts(service: &str, file: Option<&Path>, environment: &BTreeMap<String, String>) {
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("password");
    std::fs::write(&password, "secret\n").unwrap();
    let mut command = Command::new(program(service, env!("CARGO_BIN_EXE_pumasi")));
    command
        .current_dir("/")
        .env_clear()
        .envs(environment)
        .env("PUMASI__BROKER__PASSWORD_FILE", password)
        .args([
            "--broker",
            &format!("amqp://pumasi@127.0.0.1:{}", free_port()),
        ]);
    if let Some(file) = file {
        command.arg("--config").arg(file);
    }
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(69), "{service}: {errors}");
    assert!(errors.contains("error[PU2001]"), "{service}: {errors}");
}

#[test]
fn the_services_take_the_settings_that_kubernetes_gives_them() {
    let Some(objects) = render() else { return };
    let (text, table) = configuration(&objects);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pumasi.toml");
    std::fs::write(&file, text).unwrap();
    for (name, service) in [("producer", "pumasi-producer"), ("worker", "pumasi-worker")] {
        let pod = &one(&objects, "Deployment", name)["spec"]["template"]["spec"];
        let container = &pod["containers"][0];
        let environment = container["env"].as_array().into_iter().flatten();
        let environment = environment
            .map(|pair| (text_of(&pair["name"]), text_of(&pair["value"])))
            .collect();
        accepts(service, Some(&file), &environment);

        let mounts = container["volumeMounts"].as_array().unwrap();
        let mount = |path: &str| {
            let mounted = mounts.iter().find(|mount| {
                path.starts_with(&format!("{}/", mount["mountPath"].as_str().unwrap()))
            });
            let volume = &mounted.unwrap()["name"];
            let volumes = pod["volumes"].as_array().unwrap();
            volumes.iter().find(|it| it["name"] == *volume).unwrap()
        };
        let given: Vec<&str> = container["args"]
            .as_array()
            .unwrap()
            .iter()
            .map(|argument| argument.as_str().unwrap())
            .collect();
        let ["--config", path] = given[..] else {
            panic!("{given:?}")
        };
        let generated = &one(&objects, "ConfigMap", "pumasi")["metadata"]["name"];
        assert_eq!(mount(path)["configMap"]["name"], *generated);
        let password = table["broker"]["password_file"].as_str().unwrap();
        assert!(mount(password)["secret"]["secretName"].is_string());
        let url = table["broker"]["url"].as_str().unwrap();
        assert!(
            !url.split('@')
                .next()
                .unwrap()
                .trim_start_matches("amqp://")
                .contains(':')
        );
    }
}

fn text_of(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

#[test]
fn a_pod_has_longer_to_end_than_its_process_needs() {
    let Some(objects) = render() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pumasi.toml");
    std::fs::write(&file, configuration(&objects).0).unwrap();
    let close = seconds(&setting(&file, "broker.close_timeout"));
    let publish = seconds(&setting(&file, "broker.publish_timeout"));
    let traces = 5;
    for (name, key) in [
        ("producer", "gateway.drain_timeout"),
        ("worker", "worker.drain_timeout"),
    ] {
        let pod = &one(&objects, "Deployment", name)["spec"]["template"]["spec"];
        let stop = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64();
        let drain = seconds(&setting(&file, key));
        let needed = stop.unwrap_or(0) + drain + close + traces;
        let grace = pod["terminationGracePeriodSeconds"].as_u64().unwrap();
        assert!(grace > needed, "{name}: {grace} s for {needed} s");
        if name == "producer" {
            assert!(drain > publish, "every request is answered before the end");
        }
    }
}

#[test]
fn pods_are_probed_restricted_and_bounded() {
    let Some(objects) = render() else { return };
    let (_, table) = configuration(&objects);
    let port_of = |section: &str| {
        let listen = table[section]["listen"].as_str().unwrap();
        listen.rsplit(':').next().unwrap().parse::<u64>().unwrap()
    };
    for name in ["producer", "worker"] {
        let deployment = one(&objects, "Deployment", name);
        let template = &deployment["spec"]["template"];
        let labels = &template["metadata"]["labels"];
        let pod = &template["spec"];
        let container = &pod["containers"][0];
        let port = |wanted: &str| {
            let ports = container["ports"].as_array().unwrap();
            let found = ports.iter().find(|port| port["name"] == wanted);
            found.unwrap_or_else(|| panic!("{name}: {wanted}"))["containerPort"].as_u64()
        };
        assert_eq!(port("health"), Some(port_of("health")));
        for (probe, path) in [
            ("startupProbe", "/healthz"),
            ("livenessProbe", "/healthz"),
            ("readinessProbe", "/readyz"),
        ] {
            let get = &container[probe]["httpGet"];
            assert_eq!(
                (&get["path"], &get["port"]),
                (&path.into(), &"health".into())
            );
        }
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(container["image"], format!("pumasi-{name}:{version}"));
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(
            pod["securityContext"]["seccompProfile"]["type"],
            "RuntimeDefault"
        );
        assert_eq!(pod["automountServiceAccountToken"], false);
        let restricted = &container["securityContext"];
        assert_eq!(restricted["allowPrivilegeEscalation"], false);
        assert_eq!(restricted["readOnlyRootFilesystem"], true);
        assert_eq!(
            restricted["capabilities"]["drop"],
            serde_json::json!(["ALL"])
        );
        assert!(container["resources"]["requests"]["cpu"].is_string());
        assert!(container["resources"]["limits"]["memory"].is_string());

        let budget = &one(&objects, "PodDisruptionBudget", name)["spec"];
        for selector in [&deployment["spec"]["selector"], &budget["selector"]] {
            for (key, value) in selector["matchLabels"].as_object().unwrap() {
                assert_eq!(labels[key], *value);
            }
        }
        if name == "producer" {
            let service = &one(&objects, "Service", name)["spec"];
            assert_eq!(service["ports"][0]["targetPort"], "http");
            assert_eq!(port("http"), Some(port_of("gateway")));
            let wanted = &service["selector"]["app.kubernetes.io/name"];
            assert_eq!(labels["app.kubernetes.io/name"], *wanted);
        }
    }
}

#[test]
fn the_services_take_the_settings_that_compose_gives_them() {
    let text = std::fs::read_to_string(root().join("deploy/compose.yaml")).unwrap();
    let compose: Value = serde_saphyr::from_str(&text).unwrap();
    for service in ["producer", "worker"] {
        let service_entry = &compose["services"][service];
        let given = service_entry["environment"].as_object().unwrap();
        let environment = given
            .iter()
            .map(|(name, value)| (name.clone(), text_of(value)))
            .collect::<BTreeMap<_, _>>();
        assert!(environment.keys().all(|name| name.starts_with("PUMASI__")));
        accepts(&format!("pumasi-{service}"), None, &environment);
        let grace = seconds(service_entry["stop_grace_period"].as_str().unwrap());
        let least = if service == "producer" { 45 } else { 35 };
        assert!(grace > least, "{service}: {grace} s");
        assert_eq!(service_entry["read_only"], true);
        // The images hold one program and no shell.
        let check = ["CMD", &format!("/pumasi-{service}"), "--check"];
        let given = &service_entry["healthcheck"]["test"];
        assert_eq!(*given, serde_json::json!(check));
    }
}
