// gitops-health says what Flux and Argo CD would make of an object, by the engines that they use.
//
// It reads one JSON object from standard input: `object`, and either `lua`, a health script of Argo
// CD's, or `cel`, an expression of Flux's. It writes the script's result, or true or false.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/ext"
	lua "github.com/yuin/gopher-lua"
)

type question struct {
	Object map[string]any `json:"object"`
	Lua    string         `json:"lua"`
	Cel    string         `json:"cel"`
}

func main() {
	var asked question
	err := json.NewDecoder(os.Stdin).Decode(&asked)
	var answer any
	if err == nil && asked.Lua != "" {
		answer, err = argo(asked.Lua, asked.Object)
	} else if err == nil {
		answer, err = flux(asked.Cel, asked.Object)
	}
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(answer)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// flux evaluates with the object's fields as variables, as kustomize-controller does.
func flux(expression string, object map[string]any) (any, error) {
	options := []cel.EnvOption{ext.Strings(), ext.Lists(), cel.OptionalTypes()}
	for _, name := range []string{"apiVersion", "kind", "metadata", "spec", "status"} {
		options = append(options, cel.Variable(name, cel.DynType))
	}
	environment, err := cel.NewEnv(options...)
	if err != nil {
		return nil, err
	}
	tree, issues := environment.Compile(expression)
	if issues.Err() != nil {
		return nil, issues.Err()
	}
	program, err := environment.Program(tree)
	if err != nil {
		return nil, err
	}
	value, _, err := program.Eval(object)
	if err != nil {
		return nil, err
	}
	return value.Value(), nil
}

// argo runs the script with the object as `obj`, and returns the table that it returns.
func argo(script string, object map[string]any) (any, error) {
	state := lua.NewState()
	defer state.Close()
	state.SetGlobal("obj", toLua(state, object))
	if err := state.DoString(script); err != nil {
		return nil, err
	}
	table, ok := state.Get(-1).(*lua.LTable)
	if !ok {
		return nil, fmt.Errorf("the script returns no table")
	}
	status, message := table.RawGetString("status"), table.RawGetString("message")
	return map[string]string{"status": lua.LVAsString(status), "message": lua.LVAsString(message)}, nil
}

func toLua(state *lua.LState, value any) lua.LValue {
	switch typed := value.(type) {
	case string:
		return lua.LString(typed)
	case float64:
		return lua.LNumber(typed)
	case bool:
		return lua.LBool(typed)
	case []any:
		table := state.NewTable()
		for _, item := range typed {
			table.Append(toLua(state, item))
		}
		return table
	case map[string]any:
		table := state.NewTable()
		for key, item := range typed {
			table.RawSetString(key, toLua(state, item))
		}
		return table
	}
	return lua.LNil
}
