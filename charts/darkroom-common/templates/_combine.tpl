{{/*
Laying values over each other, so that no key stands twice. Templates return text: the results are
JSON, to be read by fromJson or fromJsonArray.
*/}}

{{/*
A list of maps, the later over the earlier. Below a key, maps merge, lists join (see combineLists)
and anything else replaces. Null, and an empty string, map or list, leave what is there.
*/}}
{{- define "darkroom.combine" -}}
{{- $result := dict -}}
{{- range $layer := . -}}
{{- range $key, $value := $layer -}}
{{- $have := get $result $key -}}
{{- if and (kindIs "map" $value) (kindIs "map" $have) -}}
{{- $_ := set $result $key (include "darkroom.overlay" (list $have $value) | fromJson) -}}
{{- else if and (kindIs "slice" $value) (kindIs "slice" $have) -}}
{{- $_ := set $result $key (include "darkroom.combineLists" (list $have $value) | fromJsonArray) -}}
{{- else if not (or (kindIs "invalid" $value) (and (empty $value) (has (kindOf $value) (list "string" "map" "slice")))) -}}
{{- $_ := set $result $key $value -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $result -}}
{{- end -}}

{{/*
Lists joined in order. Items with the same path of a mount, or else the same name, are one item, the
later in the place of the earlier; so are equal items without a name.
*/}}
{{- define "darkroom.combineLists" -}}
{{- $order := list -}}
{{- $items := dict -}}
{{- range $list := . -}}
{{- range $item := $list -}}
{{- $id := toJson $item -}}
{{- if kindIs "map" $item -}}
{{- $id = coalesce $item.mountPath $item.devicePath $item.name $id -}}
{{- end -}}
{{- if not (hasKey $items $id) -}}
{{- $order = append $order $id -}}
{{- end -}}
{{- $_ := set $items $id $item -}}
{{- end -}}
{{- end -}}
{{- $result := list -}}
{{- range $order -}}
{{- $result = append $result (get $items .) -}}
{{- end -}}
{{- toJson $result -}}
{{- end -}}

{{/* A list of maps of texts, as labels and annotations are, the later over the earlier. An empty text is one too. */}}
{{- define "darkroom.texts" -}}
{{- $result := dict -}}
{{- range $layer := . -}}
{{- range $key, $value := $layer -}}
{{- if not (kindIs "invalid" $value) -}}
{{- $_ := set $result $key $value -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $result -}}
{{- end -}}

{{/*
List of two maps: hooks or probes, name to what is done. One of the first without its handler (exec, httpGet
and the rest) where the second gives one, for Kubernetes takes one of each.
*/}}
{{- define "darkroom.oneHandler" -}}
{{- $handlers := list "exec" "httpGet" "tcpSocket" "grpc" "sleep" -}}
{{- $result := deepCopy (first .) -}}
{{- range $name, $own := last . -}}
{{- $have := get $result $name -}}
{{- range $handler := $handlers -}}
{{- if and (kindIs "map" $have) (kindIs "map" $own) (hasKey $own $handler) -}}
{{- range $other := without $handlers $handler -}}
{{- $_ := unset $have $other -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $result -}}
{{- end -}}

{{/* List of two maps: the second over the first, as Helm itself does it. Null removes a key, at any depth. */}}
{{- define "darkroom.overlay" -}}
{{- $result := deepCopy (first .) -}}
{{- range $key, $value := last . -}}
{{- $have := get $result $key -}}
{{- if kindIs "invalid" $value -}}
{{- $_ := unset $result $key -}}
{{- else if kindIs "map" $value -}}
{{- $below := ternary $have dict (kindIs "map" $have) -}}
{{- $_ := set $result $key (include "darkroom.overlay" (list $below $value) | fromJson) -}}
{{- else -}}
{{- $_ := set $result $key $value -}}
{{- end -}}
{{- end -}}
{{- toJson $result -}}
{{- end -}}

{{/*
A list of environments, the later over the earlier, as a container's `env`. Each is a map, name to
value or to {valueFrom}, or already a list.
*/}}
{{- define "darkroom.envList" -}}
{{- $lists := list -}}
{{- range $layer := . -}}
{{- $items := list -}}
{{- range $key, $value := $layer -}}
{{- if kindIs "slice" $layer -}}
{{- $items = append $items $value -}}
{{- else if kindIs "map" $value -}}
{{- $items = append $items (merge (dict "name" $key) $value) -}}
{{- else -}}
{{- $items = append $items (dict "name" $key "value" $value) -}}
{{- end -}}
{{- end -}}
{{- $lists = append $lists $items -}}
{{- end -}}
{{- include "darkroom.combineLists" $lists -}}
{{- end -}}
