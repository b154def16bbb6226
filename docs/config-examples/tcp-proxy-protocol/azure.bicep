// A load balancer of Azure passes connections through with the client's address in them, so it needs no PROXY protocol. A
// private link service hides the address, and can tell it by PROXY protocol version 2. No server names.
// Nothing here checks this file.

param location string = resourceGroup().location
param subnetId string
param frontendId string

resource users 'Microsoft.Network/privateLinkServices@2023-11-01' = {
  name: 'users'
  location: location
  properties: {
    enableProxyProtocol: true
    loadBalancerFrontendIpConfigurations: [{ id: frontendId }]
    ipConfigurations: [{ name: 'nat', properties: { subnet: { id: subnetId }, primary: true } }]
  }
}
