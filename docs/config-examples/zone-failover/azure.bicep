// Traffic Manager: the first of these names that is healthy. It answers DNS queries, so clients follow within the time to
// live and what resolvers make of it. A zone is a public load balancer of its own here.
// Nothing here checks this file.

resource users 'Microsoft.Network/trafficManagerProfiles@2022-04-01' = {
  name: 'users'
  location: 'global'
  properties: {
    trafficRoutingMethod: 'Priority'
    dnsConfig: {
      relativeName: 'users-evenkeel-example'
      ttl: 30
    }
    monitorConfig: {
      protocol: 'HTTP'
      port: 8080
      path: '/health'
      // 10 or 30; found after 10 * (3 + 1) s and a timeout at worst.
      intervalInSeconds: 10
      timeoutInSeconds: 5
      toleratedNumberOfFailures: 3
    }
    endpoints: [for (target, i) in ['zone-a.example.net', 'zone-b.example.net', 'far.example.net']: {
      name: 'tier-${i}'
      type: 'Microsoft.Network/trafficManagerProfiles/externalEndpoints'
      properties: {
        target: target
        priority: i + 1
        endpointStatus: 'Enabled'
      }
    }]
  }
}
