{{/*
S3 identity: one of five ways, the same on head, workers and submitters. What a way needs beside
these (an annotation on the service account, an opening in the network policy) stands in
_serviceaccount.tpl and _networkpolicy.tpl.
*/}}

{{- define "darkroom.devS3Enabled" -}}
{{- if dig "devS3" "enabled" false .Values.AsMap -}}true{{- end -}}
{{- end -}}

{{/* Name of the Secret with static keys, or nothing. */}}
{{- define "darkroom.s3.secretName" -}}
{{- if include "darkroom.devS3Enabled" . -}}
{{- default (printf "%s-s3" (include "darkroom.fullname" .)) .Values.devS3.secretName -}}
{{- else if eq .Values.s3.identity.mode "secret" -}}
{{- .Values.s3.identity.secretName -}}
{{- end -}}
{{- end -}}

{{- define "darkroom.s3.endpoint" -}}
{{- if include "darkroom.devS3Enabled" . -}}
{{- printf "http://%s-s3.%s.svc:8333" (include "darkroom.fullname" .) .Release.Namespace -}}
{{- else -}}
{{- .Values.s3.endpoint -}}
{{- end -}}
{{- end -}}

{{- define "darkroom.s3.webIdentity" -}}
{{- if and (eq .Values.s3.identity.mode "webIdentity") (not (include "darkroom.devS3Enabled" .)) -}}true{{- end -}}
{{- end -}}

{{/* Environment variables, a YAML list. */}}
{{- define "darkroom.s3.env" -}}
- name: AWS_REGION
  value: {{ .Values.s3.region | quote }}
{{- with include "darkroom.s3.endpoint" . }}
- name: AWS_ENDPOINT_URL_S3
  value: {{ . | quote }}
{{- end }}
{{- with include "darkroom.s3.secretName" . }}
{{- range list "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY" "AWS_SESSION_TOKEN" }}
- name: {{ . }}
  valueFrom:
    secretKeyRef:
      name: {{ include "darkroom.s3.secretName" $ | quote }}
      key: {{ . }}
      {{- if eq . "AWS_SESSION_TOKEN" }}
      optional: true
      {{- end }}
{{- end }}
{{- end }}
{{- if include "darkroom.s3.webIdentity" . }}
- name: AWS_ROLE_ARN
  value: {{ .Values.s3.identity.roleArn | quote }}
- name: AWS_WEB_IDENTITY_TOKEN_FILE
  value: /var/run/secrets/darkroom/s3/token
- name: AWS_ROLE_SESSION_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
{{- end }}
# The network policy closes the node's metadata service; without this the SDKs wait for it.
- name: AWS_EC2_METADATA_DISABLED
  value: "true"
{{- end -}}

{{- define "darkroom.s3.volumes" -}}
{{- if include "darkroom.s3.webIdentity" . -}}
- name: s3-token
  projected:
    sources:
      - serviceAccountToken:
          path: token
          audience: {{ .Values.s3.identity.tokenAudience | quote }}
          expirationSeconds: {{ int64 .Values.s3.identity.tokenExpirationSeconds }}
{{- end }}
{{- end -}}

{{- define "darkroom.s3.volumeMounts" -}}
{{- if include "darkroom.s3.webIdentity" . -}}
- name: s3-token
  mountPath: /var/run/secrets/darkroom/s3
  readOnly: true
{{- end }}
{{- end -}}
