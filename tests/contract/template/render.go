// Renders chats with the template of a Modelfile, as Ollama does: `go run render.go Modelfile < cases.json`.
//
// The types are those that Ollama's template package hands to a template (Ollama 0.33): maps, which Go walks through in
// the order of their keys, and JSON without spaces. A case is {"messages", "tools", "effort", "today"}.
package main

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"text/template"
)

type kinds []string

func (k *kinds) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*k = []string{one}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(k))
}

type property struct {
	AnyOf       []property
	Type        kinds
	Items       any
	Description string
	Enum        []any
}

type tool struct {
	Function struct {
		Name, Description string
		Parameters        struct {
			Required   []string
			Properties map[string]property
		}
	}
}

type message struct {
	Role, Content, Thinking string
	ToolName                string `json:"tool_name"`
	ToolCalls               []struct {
		Function struct {
			Name      string
			Arguments map[string]any
		}
	} `json:"tool_calls"`
}

type chat struct {
	Messages      []*message
	Tools         []tool
	Effort, Today string
}

func typeScript(p property) string {
	var names []string
	for _, one := range p.AnyOf {
		names = append(names, typeScript(one))
	}
	known := map[string]string{"string": "string", "number": "number", "integer": "number", "boolean": "boolean",
		"array": "any[]", "object": "Record<string, any>", "null": "null"}
	if len(p.AnyOf) == 0 {
		for _, one := range p.Type {
			if name, ok := known[one]; ok {
				names = append(names, name)
			} else {
				names = append(names, "any")
			}
		}
	}
	if len(names) == 0 {
		return "any"
	}
	return strings.Join(names, " | ")
}

// merged joins consecutive messages of one role, but for tools.
func merged(messages []*message) []*message {
	var out []*message
	for _, one := range messages {
		if last := len(out) - 1; last >= 0 && out[last].Role == one.Role && one.Role != "tool" {
			out[last].Content += "\n\n" + one.Content
		} else {
			out = append(out, one)
		}
	}
	return out
}

func main() {
	modelfile, err := os.ReadFile(os.Args[1])
	must(err)
	source := regexp.MustCompile(`(?s)TEMPLATE """(.*?)"""`).FindSubmatch(modelfile)[1]
	var chats []chat
	must(json.NewDecoder(os.Stdin).Decode(&chats))
	prompts := []string{}
	for _, one := range chats {
		var text strings.Builder
		today := one.Today
		functions := template.FuncMap{
			"json":             func(v any) string { b, _ := json.Marshal(v); return string(b) },
			"currentDate":      func(...string) string { return today },
			"toTypeScriptType": typeScript,
		}
		parsed, err := template.New("").Option("missingkey=zero").Funcs(functions).Parse(string(source))
		must(err)
		must(parsed.Execute(&text, map[string]any{"Messages": merged(one.Messages), "Tools": one.Tools,
			"System": "", "Response": "", "Think": one.Effort != "", "ThinkLevel": one.Effort, "IsThinkSet": one.Effort != ""}))
		prompts = append(prompts, text.String())
	}
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", " ")
	must(encoder.Encode(prompts))
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
