{{/*
One pod for head and workers, and the pieces that submitters and tests share with it.
All of it passes the `restricted` Pod Security Standard: numeric user, read-only root, no
capabilities. /tmp is the only writable path of ours; the operator adds /dev/shm.
*/}}

{{- define "darkroom.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: {{ .Values.podSecurity.runAsUser }}
runAsGroup: {{ .Values.podSecurity.runAsGroup }}
fsGroup: {{ .Values.podSecurity.fsGroup }}
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "darkroom.containerSecurityContext" -}}
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
privileged: false
readOnlyRootFilesystem: true
runAsNonRoot: true
runAsUser: {{ .Values.podSecurity.runAsUser }}
runAsGroup: {{ .Values.podSecurity.runAsGroup }}
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* Environment of every container of ours. Takes dict: root, env (of one group, wins over `env`). */}}
{{- define "darkroom.env" -}}
- name: HOME
  value: /tmp/home
- name: PYTHONDONTWRITEBYTECODE
  value: "1"
- name: RAY_USAGE_STATS_ENABLED
  value: "0"
{{ include "darkroom.s3.env" .root }}
{{- range $name, $value := merge (deepCopy .env) .root.Values.env }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end -}}

{{/* What a Ray client beside the cluster authenticates with; the operator adds it to its own. */}}
{{- define "darkroom.authEnv" -}}
{{- if eq .Values.auth.mode "token" -}}
- name: RAY_AUTH_MODE
  value: token
- name: RAY_AUTH_TOKEN
  valueFrom:
    secretKeyRef:
      name: {{ default (include "darkroom.fullname" .) .Values.auth.secretName }}
      key: auth_token
{{- end }}
{{- end -}}

{{/* Pod-level fields of submitters and tests. */}}
{{- define "darkroom.clientPodSpec" -}}
serviceAccountName: {{ include "darkroom.serviceAccountName" . }}
automountServiceAccountToken: false
enableServiceLinks: false
restartPolicy: Never
securityContext:
  {{- include "darkroom.podSecurityContext" . | nindent 2 }}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* GPUs join the limits; requests of extended resources follow limits by themselves. */}}
{{- define "darkroom.groupResources" -}}
{{- $resources := deepCopy .resources -}}
{{- if gt (int (default 0 .gpus)) 0 -}}
{{- $limits := default dict $resources.limits -}}
{{- $_ := set $limits .gpuResource (int .gpus) -}}
{{- $_ := set $resources "limits" $limits -}}
{{- end -}}
{{- toYaml $resources -}}
{{- end -}}

{{/*
Pod template of a Ray group. Takes dict: root, role (head|worker), group (the head's or the
merged pool's values).
*/}}
{{- define "darkroom.podTemplate" -}}
{{- $root := .root -}}
{{- $group := .group -}}
{{- $isHead := eq .role "head" -}}
{{- $autoscales := and $isHead $root.Values.autoscaler.enabled -}}
metadata:
  labels:
    {{- include "darkroom.podLabels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .role }}
    {{- with $root.Values.commonLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    {{- with $group.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with $group.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "darkroom.serviceAccountName" $root }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ $group.terminationGracePeriodSeconds }}
  securityContext:
    {{- include "darkroom.podSecurityContext" $root | nindent 4 }}
  {{- with $root.Values.image.pullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- $nodeSelector := deepCopy $group.nodeSelector }}
  {{- $tolerations := $group.tolerations }}
  {{- if $group.spot }}
  {{- $nodeSelector = merge $nodeSelector $root.Values.spot.nodeSelector }}
  {{- $tolerations = concat $tolerations $root.Values.spot.tolerations }}
  {{- end }}
  {{- if gt (int (default 0 $group.gpus)) 0 }}
  {{- $tolerations = concat $tolerations $group.gpuTolerations }}
  {{- end }}
  {{- with $nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $group.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $group.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $group.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  containers:
    - name: ray-{{ .role }}
      image: {{ include "darkroom.image" (dict "root" $root "image" $root.Values.image) }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      securityContext:
        {{- include "darkroom.containerSecurityContext" $root | nindent 8 }}
      env:
        {{- include "darkroom.env" (dict "root" $root "env" $group.env) | nindent 8 }}
        # torch.compile writes here; the root is read-only.
        - name: TORCHINDUCTOR_CACHE_DIR
          value: /tmp/torchinductor
        - name: TRITON_CACHE_DIR
          value: /tmp/triton
        {{- if $group.spot }}
        - name: RAY_NODE_MARKET_TYPE
          value: spot
        {{- end }}
      # Bash is the first process and ignores SIGTERM; without this every deletion takes the whole
      # grace period and Ray's workers never hear of it.
      lifecycle:
        preStop:
          exec:
            command: [ray, stop, --grace-period, {{ max 1 (sub (int $group.terminationGracePeriodSeconds) 10) | quote }}]
      {{- with $root.Values.envFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- if $isHead }}
      ports:
        - name: gcs-server
          containerPort: 6379
        - name: client
          containerPort: 10001
        - name: dashboard
          containerPort: 8265
        - name: serve
          containerPort: 8000
        - name: metrics
          containerPort: 8080
        - name: as-metrics
          containerPort: 44217
        - name: dash-metrics
          containerPort: 44227
      {{- end }}
      resources:
        {{- include "darkroom.groupResources" $group | nindent 8 }}
      volumeMounts:
        - name: tmp
          mountPath: /tmp
        {{- with include "darkroom.s3.volumeMounts" $root }}
        {{- . | nindent 8 }}
        {{- end }}
        {{- with $root.Values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    - name: tmp
      emptyDir:
        sizeLimit: {{ $group.tmpSizeLimit }}
    {{- with include "darkroom.s3.volumes" $root }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- if $autoscales }}
    # The API token goes to the autoscaler's container alone; drivers run beside it without one.
    - name: kube-api-access
      projected:
        sources:
          - serviceAccountToken:
              path: token
              expirationSeconds: 3600
          - configMap:
              name: kube-root-ca.crt
              items:
                - key: ca.crt
                  path: ca.crt
          - downwardAPI:
              items:
                - path: namespace
                  fieldRef:
                    fieldPath: metadata.namespace
    {{- end }}
    {{- with $root.Values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}
