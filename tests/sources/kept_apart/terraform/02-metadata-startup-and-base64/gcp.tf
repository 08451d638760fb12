resource "google_compute_instance" "vm" {
  name = "vm"
  metadata_startup_script = <<SCRIPT
grep -q traefik /etc/hosts || echo "10.0.0.153 traefik.internal.example" >> /etc/hosts
SCRIPT
}
resource "aws_launch_template" "lt" {
  user_data = base64encode(<<-EOF
    #!/bin/bash
    echo "10.0.0.12 nginx.internal.example" >> /etc/hosts
    EOF
  )
}
