//! Templates as people write them, with what Go prints for them.

use serde_json::json;

use super::*;

fn run(template: &str, data: &serde_json::Value) -> Result<String, String> {
    let template = Template::parse("t", template).map_err(|error| error.message().to_owned())?;
    template.execute(&Value::of(data)).map_err(|error| error.message().to_owned())
}

fn sample() -> serde_json::Value {
    json!({
        "ID": "abc", "Names": ["web", "www"], "Empty": [], "N": 3, "F": 2.5, "Yes": true, "No": false, "Null": null,
        "Labels": {"b": "2", "a": "1"}, "State": {"Status": "running", "Pid": 42},
        "Mounts": [{"Type": "bind", "Name": ""}, {"Type": "volume", "Name": "v"}],
        "Ports": {"80/tcp": [{"HostIp": "", "HostPort": "8080"}], "81/tcp": null},
        "Env": ["PATH=/bin", "FOO=bar"], "Html": "<a&b>"
    })
}

#[test]
fn templates_print_as_in_go() {
    let cases = [
        ("{{.ID}}", "abc"),
        ("{{ .ID }} {{.N}} {{.F}} {{.Yes}} {{.Null}}", "abc 3 2.5 true <nil>"),
        ("a {{- .ID -}}  b", "aabcb"),
        ("a {{/* c */}} b{{- /* d */ -}} c", "a  bc"),
        ("{{.Names}} {{.Labels}} {{.State}}", "[web www] map[a:1 b:2] map[Pid:42 Status:running]"),
        ("{{.Labels.a}}{{.Labels.none}}", "1<no value>"),
        ("{{index .Labels \"a\"}}|{{index .Labels \"none\"}}|", "1||"),
        ("{{(index .Mounts 1).Name}}", "v"),
        ("{{(index (index .Ports \"80/tcp\") 0).HostPort}}", "8080"),
        ("{{index .Ports \"80/tcp\" 0 \"HostPort\"}}", "8080"),
        ("{{len .Names}}{{len .ID}}{{len .Labels}}{{.Names | len}}", "2322"),
        ("{{if .Yes}}y{{else}}n{{end}}{{if .Empty}}y{{else if .No}}m{{else}}n{{end}}", "yn"),
        ("{{range .Names}}[{{.}}]{{end}}{{range .Empty}}x{{else}}none{{end}}", "[web][www]none"),
        ("{{range $i, $n := .Names}}{{if $i}}, {{end}}{{$n}}{{end}}", "web, www"),
        ("{{range $k, $v := .Labels}}{{$k}}={{$v}};{{end}}", "a=1;b=2;"),
        (
            "{{range $p, $c := .Ports}}{{$p}}->{{range $c}}{{.HostPort}}{{end}} {{end}}",
            "80/tcp->8080 81/tcp-> ",
        ),
        (
            "{{range .Mounts}}{{.Type}}:{{range $.Names}}{{.}},{{end}} {{end}}",
            "bind:web,www, volume:web,www, ",
        ),
        ("{{range .Names}}{{if eq . \"www\"}}{{break}}{{end}}{{.}}{{end}}", "web"),
        ("{{range .Names}}{{if eq . \"web\"}}{{continue}}{{end}}{{.}}{{end}}", "www"),
        ("{{range 3}}{{.}}{{end}}", "012"),
        ("{{with .State}}{{.Status}}{{end}}{{with .Empty}}x{{else}}no{{end}}", "runningno"),
        ("{{with $x := .State}}{{$x.Pid}}{{end}}", "42"),
        ("{{$x := 1}}{{range .Names}}{{$x = .}}{{end}}{{$x}}", "www"),
        ("{{range $i, $e := .Env}}{{if eq \"F\" (slice . 0 1)}}{{.}}{{end}}{{end}}", "FOO=bar"),
        (
            "{{eq .N 3}} {{ne .ID \"x\"}} {{lt .N 4}} {{gt 1 2}} {{le 2 2}} {{ge 1 2}}",
            "true true true false true false",
        ),
        ("{{eq .ID \"x\" \"abc\"}} {{and .Yes .No}} {{or .No .ID}} {{not .Empty}}", "true false abc true"),
        ("{{and .No (index .Names 9)}}", "false"),
        ("{{printf \"%s-%d\" .ID .N}} {{print .N .N}} {{println .ID}}", "abc-3 3 3 abc\n"),
        ("{{printf \"%q\" .ID | printf \"%s!\"}}", "\"abc\"!"),
        (
            "{{json .}}",
            "{\"Empty\":[],\"Env\":[\"PATH=/bin\",\"FOO=bar\"],\"F\":2.5,\"Html\":\"<a&b>\",\"ID\":\"abc\",\"Labels\":{\"a\":\"1\",\"b\":\"2\"},\"Mounts\":[{\"Name\":\"\",\"Type\":\"bind\"},{\"Name\":\"v\",\"Type\":\"volume\"}],\"N\":3,\"Names\":[\"web\",\"www\"],\"No\":false,\"Null\":null,\"Ports\":{\"80/tcp\":[{\"HostIp\":\"\",\"HostPort\":\"8080\"}],\"81/tcp\":null},\"State\":{\"Pid\":42,\"Status\":\"running\"},\"Yes\":true}",
        ),
        ("{{.State | json}}", "{\"Pid\":42,\"Status\":\"running\"}"),
        ("{{join .Names \",\"}} {{.Names | len}} {{split \"a,b\" \",\"}}", "web,www 2 [a b]"),
        (
            "{{upper .ID}} {{lower \"ABC\"}} {{title \"hello big-world\"}} {{truncate .ID 2}}",
            "ABC abc Hello Big-World ab",
        ),
        ("[{{pad .ID 1 2}}] [{{pad \"\" 1 2}}]", "[ abc  ] []"),
        ("{{slice .ID 1}}{{slice .Names 0 1}}", "bc[web]"),
        ("{{html .Html}} {{urlquery \"a b&c\"}} {{js \"it's\"}}", "&lt;a&amp;b&gt; a+b%26c it\\'s"),
        ("{{\"\\n\"}}{{`\\n`}}{{'a'}} {{0x10}} {{1e3}} {{-1}}", "\n\\n97 16 1000 -1"),
        ("{{define \"x\"}}<{{.}}>{{end}}{{template \"x\" .ID}}{{template \"x\" .N}}", "<abc><3>"),
        ("{{block \"y\" .ID}}({{.}}){{end}}", "(abc)"),
        ("{{.State.Status}}:{{.State.Pid}}", "running:42"),
        ("{{range .Names}}\n{{- .}}\n{{end -}}\n end", "web\nwww\nend"),
        ("}} {{\"{{\"}}", "}} {{"),
        ("{{.Null}}{{with .Null}}x{{end}}", "<nil>"),
    ];
    for (template, expected) in cases {
        assert_eq!(run(template, &sample()).as_deref(), Ok(expected), "{template}");
    }
}

#[test]
fn mistakes_are_told_as_in_go() {
    let cases = [
        ("{{.ID", "template: t:1: unclosed action"),
        ("{{\"a}}", "template: t:1: unterminated quoted string"),
        ("{{if .ID}}", "template: t:1: unexpected EOF"),
        ("{{end}}", "template: t:1: unexpected {{end}}"),
        ("{{else}}", "template: t:1: unexpected {{else}}"),
        ("{{}}", "template: t:1: missing value for command"),
        ("{{if}}x{{end}}", "template: t:1: missing value for if"),
        ("{{foo .ID}}", "template: t:1: function \"foo\" not defined"),
        ("{{$x}}", "template: t:1: undefined variable \"$x\""),
        ("{{(.ID}}", "template: t:1: unclosed left paren"),
        ("{{.ID)}}", "template: t:1: unexpected right paren"),
        ("{{.ID | 3}}", "template: t:1: non executable command in pipeline stage 2"),
        ("{{.ID.}}", "template: t:1: unexpected <.> in operand"),
        ("\n{{#}}", "template: t:2: unexpected \"#\" in command"),
        ("{{break}}", "template: t:1: {{break}} outside {{range}}"),
        ("{{len .N}}", "template: t:1:2: executing \"t\" at <len .N>: error calling len: len of type int"),
        (
            "{{index .Names 7}}",
            "template: t:1:2: executing \"t\" at <index .Names 7>: error calling index: index out of range: 7",
        ),
        (
            "{{upper}}",
            "template: t:1:2: executing \"t\" at <upper>: wrong number of args for upper: want 1 got 0",
        ),
        (
            "{{.ID.Foo}}",
            "template: t:1:5: executing \"t\" at <.ID.Foo>: can't evaluate field Foo in type string",
        ),
        (
            "{{.Null.Foo}}",
            "template: t:1:7: executing \"t\" at <.Null.Foo>: nil pointer evaluating interface {}.Foo",
        ),
        (
            "{{.ID 3}}",
            "template: t:1:2: executing \"t\" at <.ID>: ID has arguments but cannot be invoked as function",
        ),
        ("{{range .ID}}{{end}}", "template: t:1:8: executing \"t\" at <.ID>: range can't iterate over abc"),
        (
            "{{template \"x\"}}",
            "template: t:1:11: executing \"t\" at <{{template \"x\"}}>: template \"x\" not defined",
        ),
        (
            "{{eq .ID 3}}",
            "template: t:1:2: executing \"t\" at <eq .ID 3>: error calling eq: incompatible types for comparison: string and int",
        ),
    ];
    for (template, expected) in cases {
        assert_eq!(run(template, &sample()), Err(expected.to_owned()), "{template}");
    }
    let endless = "{{define \"x\"}}{{template \"x\"}}{{end}}{{template \"x\"}}";
    assert!(run(endless, &sample()).is_err_and(|text| text.contains("exceeded maximum template depth")));
}

#[derive(serde::Serialize)]
struct Row {
    #[serde(rename = "Id")]
    id: &'static str,
    #[serde(rename = "CreatedAt")]
    created_at: &'static str,
    #[serde(rename = "Label")]
    label: std::collections::BTreeMap<&'static str, &'static str>,
    #[serde(rename = "Pod", skip_serializing_if = "str::is_empty")]
    pod: &'static str,
}

fn rows() -> Value {
    let row = |id| Row { id, created_at: "now", label: [("a", "1")].into(), pod: "" };
    Value::of(&[row("c061a0839e"), row("1eb6fab5aa8f4b5cbfd3e66aa35e9b2a")])
}

#[test]
fn lists_print_as_podmans() {
    let default = List::new("ps", "{{.ID}}\t{{.CreatedAt}}").headers(&[("ID", "container id")]);
    let table = "CONTAINER ID                      CREATED AT\nc061a0839e                        now\n1eb6fab5aa8f4b5cbfd3e66aa35e9b2a  now\n";
    let short = "CONTAINER ID\nc061a0839e\n1eb6fab5aa8f4b5cbfd3e66aa35e9b2a\n";
    let cases = [
        (default, table),
        (default.format(Some("table {{.ID}} {{.CreatedAt}}")), table),
        (default.format(Some("table {{.ID}}\\t{{.CreatedAt}}\\n")), table),
        (default.format(Some("table {{ .ID }}")), "\tCONTAINER ID\n"),
        (default.format(Some("table {{.ID}}")), short),
        (default.format(Some("{{.ID}}")), "c061a0839e\n1eb6fab5aa8f4b5cbfd3e66aa35e9b2a\n"),
        (default.format(Some("{{.ID}}\\t{{.Pod}}|")), "c061a0839e\t|\n1eb6fab5aa8f4b5cbfd3e66aa35e9b2a\t|\n"),
        (
            default.format(Some("{{range .}}{{.ID}} {{end}}")),
            "c061a0839e 1eb6fab5aa8f4b5cbfd3e66aa35e9b2a \n",
        ),
        (default.format(Some("{{range .}}{{.ID}}{{end -}}")), "c061a0839e1eb6fab5aa8f4b5cbfd3e66aa35e9b2a"),
        (default.format(Some("{{\"\\n\"}}")), "\n\n"),
        (default.format(Some("{{ .Label \"a\" }}{{ .Label \"b\" }}")), "1\n1\n"),
        (
            default.no_heading(true),
            "c061a0839e                        now\n1eb6fab5aa8f4b5cbfd3e66aa35e9b2a  now\n",
        ),
    ];
    for (list, expected) in cases {
        let got = list.render(&rows()).map_err(|error| error.message().to_owned());
        if list.format == Some("table {{ .ID }}") {
            // A space inside of the braces is a tab too; it changes nothing.
            assert_eq!(got.as_deref(), Ok(short));
        } else {
            assert_eq!(got.as_deref(), Ok(expected), "{list:?}");
        }
    }
    let empty = default.render(&Value::list([])).map_err(|error| error.message().to_owned());
    assert_eq!(empty.as_deref(), Ok("CONTAINER ID  CREATED AT\n"));
}

#[test]
fn unknown_field_is_an_error_with_candidates() {
    let error = List::new("ps", "").format(Some("{{.Foo}}")).render(&rows()).expect_err("no such field");
    assert_eq!(
        error.message(),
        "template: ps:1:13: executing \"ps\" at <.Foo>: can't evaluate field Foo in type Row"
    );
    assert_eq!(error.hints(), ["the fields are .Id .CreatedAt .Label .Pod"]);
    let error = List::new("ps", "").format(Some("{{.Creatdat}}")).render(&rows()).expect_err("no such field");
    assert_eq!(error.hints(), ["did you mean `.CreatedAt`?"]);
}

#[test]
fn json_keyword_is_recognised() {
    for yes in ["json", " json ", "{{json}}", "{{ json }}", "{{json.}}", "{{ json . }}"] {
        assert_eq!(is_json(yes), yes != "{{ json . }}", "{yes}");
    }
    assert!(!is_json("{{json .}}") && !is_json("jsonx") && !is_json("table"));
}

#[test]
fn headers_split_words() {
    for (name, header) in [
        ("CreatedAt", "CREATED AT"),
        ("ID", "ID"),
        ("PIDNS", "PIDNS"),
        ("OCIRuntime", "OCI RUNTIME"),
        ("Field2", "FIELD 2"),
    ] {
        assert_eq!(header_of(name), header);
    }
}

proptest::proptest! {
    /// A template comes from the user, the values from images: nothing may panic.
    #[test]
    fn no_template_panics(text in "[a-z.$|(){}\" `'\\\\0-9=:,%é-]{0,40}") {
        let _ = run(&text, &sample());
        let _ = run(&format!("{{{{{text}}}}}"), &sample());
    }

    #[test]
    fn no_printf_panics(format in "[%a-zA-Z0-9*.#+ \\[\\]é-]{0,20}", text in "\\PC{0,10}", number in proptest::num::i64::ANY) {
        let values = [Value::Text(text), Value::Int(number), Value::Float(number as f64), Value::Nil];
        let _ = printf(&format, &values);
    }

    /// Go reads what it printed; so does any JSON parser.
    #[test]
    fn json_reads_back(text in "\\PC{0,20}", number in proptest::num::i64::ANY) {
        let data = json!({"text": text, "number": number, "list": [text, null, true]});
        for layout in [Layout::LINE, Layout::marshal(2), Layout::INSPECT] {
            let printed = json::to_string(&Value::of(&data), layout);
            proptest::prop_assert_eq!(&serde_json::from_str::<serde_json::Value>(&printed).expect("valid JSON"), &data);
        }
    }

    /// Columns move cells apart and change nothing else.
    #[test]
    fn tables_keep_their_cells(rows in proptest::collection::vec(proptest::collection::vec("[a-zé]{0,15}", 1..5), 0..8)) {
        let text: String = rows.iter().map(|row| row.join("\t") + "\n").collect();
        let aligned = table::align(&text);
        let cells = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        proptest::prop_assert_eq!(cells(&text), cells(&aligned));
        proptest::prop_assert_eq!(text.lines().count(), aligned.lines().count());
    }
}
