{{/* Objects given in values; strings in them are templates. */}}
{{- define "darkroom.extraObjects" -}}
{{- range ternary .Values.extraObjects list .Values.enabled }}
---
{{ tpl (toYaml .) $ }}
{{- end }}
{{- end -}}
